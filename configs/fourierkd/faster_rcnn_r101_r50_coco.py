"""Faster R-CNN R101 -> R50: 38.4 -> 40.9 AP published; the class loss is on the RPN."""

_base_ = ["../_base_/pairs/faster_rcnn_r101_r50_coco_clip35.py"]
pair = dict(losses=dict(fourierkd=dict(loss_weight=7.0), iou_aware=dict(loss_weight=1.5)))
