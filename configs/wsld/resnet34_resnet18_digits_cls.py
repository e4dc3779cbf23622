"""WSLD from class logits on the bundled classification task."""

_base_ = ["../_base_/pairs/resnet34_resnet18_digits_cls.py"]
pair = dict(losses=dict(wsld=dict(tau=4.0, alpha=0.75)))
