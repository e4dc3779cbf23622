"""CWD on RepPoints X101-DCN -> R50: 41.8 AP in the FreeKD paper."""

_base_ = ["../_base_/pairs/reppoints_x101_r50_coco.py"]
pair = dict(losses=dict(cwd=dict(tau=1.0, loss_weight=5.0)))
