"""RepPoints R50 -> RetinaNet MobileNetV2: the same teacher, data and schedule as for R18."""

_base_ = ["reppoints_r50_retinanet_r18_coco.py"]
pair = dict(student="configs/_base_/models/retinanet_mobilenetv2.py")
