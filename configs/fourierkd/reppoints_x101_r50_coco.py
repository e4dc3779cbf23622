"""RepPoints X101-DCN -> R50: 38.6 -> 42.8 AP published."""

_base_ = ["../_base_/pairs/reppoints_x101_r50_coco_clip35.py"]
pair = dict(losses=dict(fourierkd=dict(loss_weight=7.0), iou_aware=dict(loss_weight=1.5)))
