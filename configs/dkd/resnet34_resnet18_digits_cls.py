"""DKD from class logits on the bundled classification task."""

_base_ = ["../_base_/pairs/resnet34_resnet18_digits_cls.py"]
pair = dict(losses=dict(dkd=dict(tau=4.0, alpha=1.0, beta=3.0)))
