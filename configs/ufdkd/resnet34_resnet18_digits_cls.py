"""UFD-KD on the bundled classification task."""

_base_ = ["../_base_/pairs/resnet34_resnet18_digits_cls.py"]
pair = dict(losses=dict(ufdkd=dict(loss_weight=3.0)))
