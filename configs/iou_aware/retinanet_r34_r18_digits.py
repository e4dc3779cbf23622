"""FourierKD's class loss on the bundled task."""

_base_ = ["../_base_/pairs/retinanet_r34_r18_digits.py"]
pair = dict(losses=dict(iou_aware=dict(loss_weight=20.0)))
