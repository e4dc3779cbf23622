"""Student of the bundled classification task alone: a narrow ResNet-18, 10 epochs."""

_base_ = ["../_base_/models/resnet18_digits_cls.py", "../_base_/digits_cls.py"]
