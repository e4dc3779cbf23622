"""ViT-S -> MobileNetV2 on CIFAR-100, 224 pixels."""

_base_ = ["../cifar100_224_300e.py"]
pair = dict(
    teacher="configs/_base_/models/vit_small_cifar100.py",
    teacher_checkpoint="work_dirs/teacher/vit_small_cifar100/latest.pth",
    student="configs/_base_/models/mobilenetv2_cifar100.py",
)
