"""Feature imitation on the bundled task: the squared difference of the necks."""

_base_ = ["../_base_/pairs/retinanet_r34_r18_digits.py"]
pair = dict(losses=dict(mimic=dict(loss_weight=20.0)))
