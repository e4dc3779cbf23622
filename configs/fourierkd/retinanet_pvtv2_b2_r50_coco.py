"""RetinaNet PVTv2-B2 -> R50: the authors give a config, and have published no result."""

_base_ = ["../_base_/pairs/retinanet_pvtv2_b2_r50_coco.py"]
pair = dict(losses=dict(fourierkd=dict(loss_weight=7.0), iou_aware=dict(loss_weight=1.5)))
