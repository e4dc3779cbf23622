"""Swin-L, pretrained on ImageNet-21k -> ResNet-50 on ImageNet, 100 epochs of SGD."""

_base_ = ["../imagenet_100e.py"]
pair = dict(
    teacher="mmcls::swin_transformer/swin-large_16xb64_in1k.py",
    teacher_checkpoint="https://download.openmmlab.com/mmclassification/v0/swin-transformer/convert/swin_large_patch4_window7_224_22kto1k-5f0996db.pth",  # noqa: E501
    student="mmcls::resnet/resnet50_8xb32_in1k.py",
)
