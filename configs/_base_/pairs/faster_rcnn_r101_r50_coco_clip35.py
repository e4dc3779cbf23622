"""Faster R-CNN R101 -> R50, gradients clipped at norm 35."""

_base_ = ["faster_rcnn_r101_r50_coco.py"]
optimizer_config = dict(_delete_=True, grad_clip=dict(max_norm=35, norm_type=2))
