"""ResNet-34 -> ResNet-18 on the bundled classification task."""

_base_ = ["../digits_cls.py"]
pair = dict(
    teacher="configs/_base_/models/resnet34_digits_cls.py",
    teacher_checkpoint="work_dirs/teacher/resnet34_digits_cls/latest.pth",
    student="configs/_base_/models/resnet18_digits_cls.py",
)
