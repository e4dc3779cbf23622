"""ResNet-18 on the bundled classification task: a student without a teacher."""

_base_ = ["../digits_cls.py"]
pair = dict(teacher=None, student="configs/_base_/models/resnet18_digits_cls.py")
