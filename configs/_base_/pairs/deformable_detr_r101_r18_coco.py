"""Deformable DETR R101 -> R18: who teaches whom, on which data, for how long."""

_base_ = ["../coco_detr_12e.py"]
pair = dict(
    teacher="configs/teacher/deformable_detr_r101_coco.py",
    teacher_checkpoint="work_dirs/teacher/deformable_detr_r101_coco/latest.pth",
    student=dict(
        config="mmdet::deformable_detr/deformable_detr_r50_16x2_50e_coco.py",
        backbone=dict(depth=18, init_cfg=dict(checkpoint="torchvision://resnet18")),
        neck=dict(in_channels=[128, 256, 512]),
    ),
    module="bbox_head.transformer.encoder",
)
