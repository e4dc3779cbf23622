"""Swin-S -> ResNet-50 on ImageNet, 100 epochs of SGD."""

_base_ = ["../imagenet_100e.py"]
pair = dict(
    teacher="mmcls::swin_transformer/swin-small_16xb64_in1k.py",
    teacher_checkpoint="https://download.openmmlab.com/mmclassification/v0/swin-transformer/swin_small_224_b16x64_300e_imagenet_20210615_110219-7f9d988b.pth",  # noqa: E501
    student="mmcls::resnet/resnet50_8xb32_in1k.py",
)
