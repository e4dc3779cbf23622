"""MGD on the bundled classification task: the last map, with whole channels masked."""

_base_ = ["../_base_/pairs/resnet34_resnet18_digits_cls.py"]
pair = dict(losses=dict(mgd=dict(loss_weight=1.2e-3)))
