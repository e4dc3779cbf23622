"""PKD on RepPoints X101-DCN -> R50: 42.0 AP in the FreeKD paper."""

_base_ = ["../_base_/pairs/reppoints_x101_r50_coco.py"]
pair = dict(losses=dict(pkd=dict(loss_weight=6.0)))
