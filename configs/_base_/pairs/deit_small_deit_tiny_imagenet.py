"""DeiT-S -> DeiT-T on ImageNet.

The teachers of the paper are DeiT-III, which mmcls 0.25 has not: the DeiT of the same size stands
for it.
"""

_base_ = ["../imagenet_vit_300e.py"]
pair = dict(
    teacher="mmcls::deit/deit-small_pt-4xb256_in1k.py",
    teacher_checkpoint="https://download.openmmlab.com/mmclassification/v0/deit/deit-small_pt-4xb256_in1k_20220218-9425b9bb.pth",  # noqa: E501
    student="mmcls::deit/deit-tiny_pt-4xb256_in1k.py",
)
