"""Swin-T -> MobileNetV2 on CIFAR-100, 224 pixels."""

_base_ = ["../cifar100_224_300e.py"]
pair = dict(
    teacher="configs/_base_/models/swin_tiny_cifar100.py",
    teacher_checkpoint="work_dirs/teacher/swin_tiny_cifar100/latest.pth",
    student="configs/_base_/models/mobilenetv2_cifar100.py",
)
