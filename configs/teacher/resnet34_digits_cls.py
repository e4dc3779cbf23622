"""Teacher of the bundled classification task: ResNet-34, 16 channels wide at first."""

_base_ = ["../_base_/models/resnet34_digits_cls.py", "../_base_/digits_cls.py"]
