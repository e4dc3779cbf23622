"""PKD on the bundled task: the correlation of each channel of the neck with the teacher's."""

_base_ = ["../_base_/pairs/retinanet_r34_r18_digits.py"]
pair = dict(losses=dict(pkd=dict(loss_weight=60.0)))
