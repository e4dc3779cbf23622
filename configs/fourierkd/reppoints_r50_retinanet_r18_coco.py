"""RepPoints R50 -> RetinaNet R18: 31.7 -> 35.2 AP published (12 epochs)."""

_base_ = ["../_base_/pairs/reppoints_r50_retinanet_r18_coco.py"]
pair = dict(losses=dict(fourierkd=dict(loss_weight=7.0)))
