"""FGD on the bundled task: boxes and background of the neck apart, and its context."""

_base_ = ["../_base_/pairs/retinanet_r34_r18_digits.py"]
pair = dict(losses=dict(fgd=dict(loss_weight=20.0)))
