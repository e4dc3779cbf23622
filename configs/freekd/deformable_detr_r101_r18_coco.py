"""Deformable DETR R101 -> R18: 36.4 -> 38.9 AP in the paper (12 epochs)."""

_base_ = ["../_base_/pairs/deformable_detr_r101_r18_coco.py"]
pair = dict(
    losses=dict(
        freekd=dict(
            prompts="work_dirs/prompt/deformable_detr_r101_coco/prompts.pth", loss_weight=1.0
        ),
    ),
)
