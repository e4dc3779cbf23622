"""FourierKD on the bundled segmentation task, on the last backbone stage."""

_base_ = ["../_base_/pairs/fpn_r34_r18_digits_seg.py"]
pair = dict(losses=dict(fourierkd=dict(loss_weight=0.1)))
