"""DeiT-B -> DeiT-S on ImageNet.

The teachers of the paper are DeiT-III, which mmcls 0.25 has not: the DeiT of the same size stands
for it.
"""

_base_ = ["../imagenet_vit_300e.py"]
pair = dict(
    teacher="mmcls::deit/deit-base_pt-16xb64_in1k.py",
    teacher_checkpoint="https://download.openmmlab.com/mmclassification/v0/deit/deit-base_pt-16xb64_in1k_20220216-db63c16c.pth",  # noqa: E501
    student="mmcls::deit/deit-small_pt-4xb256_in1k.py",
)
