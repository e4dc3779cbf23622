"""Teacher: Deformable DETR R101, 50 epochs (47.1 AP in the paper); mmdet has no weights of it."""

_base_ = [
    "../_base_/datasets/coco_detr.py",
    "../_base_/schedules/coco_detr_50e.py",
    "../_base_/default_runtime.py",
]
model = dict(
    config="mmdet::deformable_detr/deformable_detr_r50_16x2_50e_coco.py",
    backbone=dict(depth=101, init_cfg=dict(checkpoint="torchvision://resnet101")),
)
