"""USKD on the bundled classification task: the student teaches itself."""

_base_ = ["../_base_/pairs/resnet18_digits_cls.py"]
pair = dict(losses=dict(uskd=dict(alpha=1.0, beta=1.0, mu=1.0)))
