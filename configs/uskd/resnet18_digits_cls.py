"""USKD on the bundled classification task: the student teaches itself."""

_base_ = ["../_base_/pairs/resnet18_digits_cls.py"]
pair = dict(losses=dict(uskd=dict(alpha=0.1, beta=0.1, mu=0.1)))
