"""SRRL on the bundled classification task: the last map, by the teacher's own classifier."""

_base_ = ["../_base_/pairs/resnet34_resnet18_digits_cls.py"]
pair = dict(losses=dict(srrl=dict(alpha=1.0, beta=5.0)))
