"""Deformable DETR R101 -> MobileNetV2: 33.5 -> 36.2 AP in the paper (12 epochs)."""

_base_ = ["../_base_/coco_detr_12e.py"]
pair = dict(
    teacher="configs/teacher/deformable_detr_r101_coco.py",
    teacher_checkpoint="work_dirs/teacher/deformable_detr_r101_coco/latest.pth",
    student="configs/_base_/models/deformable_detr_mobilenetv2.py",
    module="bbox_head.transformer.encoder",
    prompts="work_dirs/prompt/deformable_detr_r101_coco/prompts.pth",
    freekd=dict(loss_weight=1.0),
)
