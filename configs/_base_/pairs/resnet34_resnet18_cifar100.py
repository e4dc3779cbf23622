"""ResNet-34 -> ResNet-18 on CIFAR-100, 32 pixels."""

_base_ = ["../cifar100_200e.py"]
pair = dict(
    teacher="configs/_base_/models/resnet34_cifar100_32.py",
    teacher_checkpoint="work_dirs/teacher/resnet34_cifar100_32/latest.pth",
    student="configs/_base_/models/resnet18_cifar100_32.py",
)
