"""Swin-T -> ResNet-18 on ImageNet."""

_base_ = ["../imagenet_100e.py"]
pair = dict(
    teacher="mmcls::swin_transformer/swin-tiny_16xb64_in1k.py",
    teacher_checkpoint="https://download.openmmlab.com/mmclassification/v0/swin-transformer/swin_tiny_224_b16x64_300e_imagenet_20210616_090925-66df6be6.pth",  # noqa: E501
    student="mmcls::resnet/resnet18_8xb32_in1k.py",
)
