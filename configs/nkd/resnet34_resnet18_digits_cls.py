"""NKD from class logits on the bundled classification task."""

_base_ = ["../_base_/pairs/resnet34_resnet18_digits_cls.py"]
pair = dict(losses=dict(nkd=dict(tau=3.0, gamma=1.0)))
