"""Deformable DETR R101 -> MobileNetV2: who teaches whom, on which data, for how long."""

_base_ = ["../coco_detr_12e.py"]
pair = dict(
    teacher="configs/teacher/deformable_detr_r101_coco.py",
    teacher_checkpoint="work_dirs/teacher/deformable_detr_r101_coco/latest.pth",
    student="configs/_base_/models/deformable_detr_mobilenetv2.py",
    module="bbox_head.transformer.encoder",
)
