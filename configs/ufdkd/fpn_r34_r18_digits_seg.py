"""UFD-KD on the bundled segmentation task."""

_base_ = ["../_base_/pairs/fpn_r34_r18_digits_seg.py"]
pair = dict(losses=dict(ufdkd=dict(loss_weight=0.03)))
