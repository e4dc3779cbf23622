"""CWD on the bundled segmentation task, on the predicted maps."""

_base_ = ["../_base_/pairs/fpn_r34_r18_digits_seg.py"]
pair = dict(losses=dict(cwd=dict(loss_weight=1.0)))
