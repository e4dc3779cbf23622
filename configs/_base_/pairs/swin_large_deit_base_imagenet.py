"""Swin-L -> DeiT-B on ImageNet.

mmcls 0.25 has neither DeiT-III-L, the paper's teacher, nor another DeiT of that size. Swin-L, too,
was pretrained on ImageNet-21k and takes the same images of 224 pixels.
"""

_base_ = ["../imagenet_vit_300e.py"]
pair = dict(
    teacher="mmcls::swin_transformer/swin-large_16xb64_in1k.py",
    teacher_checkpoint="https://download.openmmlab.com/mmclassification/v0/swin-transformer/convert/swin_large_patch4_window7_224_22kto1k-5f0996db.pth",  # noqa: E501
    student="mmcls::deit/deit-base_pt-16xb64_in1k.py",
)
