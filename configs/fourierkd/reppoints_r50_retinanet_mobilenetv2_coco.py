"""RepPoints R50 -> RetinaNet MobileNetV2: 28.5 -> 33.3 AP published (12 epochs)."""

_base_ = ["../_base_/pairs/reppoints_r50_retinanet_mobilenetv2_coco.py"]
pair = dict(losses=dict(fourierkd=dict(loss_weight=7.0)))
