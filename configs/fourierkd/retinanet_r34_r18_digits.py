"""FourierKD's feature loss on the bundled task."""

_base_ = ["../_base_/pairs/retinanet_r34_r18_digits.py"]
pair = dict(losses=dict(fourierkd=dict(loss_weight=60.0)))
