"""Cascade Mask R-CNN X101 -> Faster R-CNN R50: who teaches whom, on which data, for how long."""

_base_ = ["../coco_2x.py"]
pair = dict(
    teacher="mmdet::cascade_rcnn/cascade_mask_rcnn_x101_64x4d_fpn_20e_coco.py",
    teacher_checkpoint="https://download.openmmlab.com/mmdetection/v2.0/cascade_rcnn/cascade_mask_rcnn_x101_64x4d_fpn_20e_coco/cascade_mask_rcnn_x101_64x4d_fpn_20e_coco_20200512_161033-bdb5126a.pth",  # noqa: E501
    student="configs/_base_/models/faster_rcnn_r50_agnostic.py",
)
optimizer_config = dict(_delete_=True, grad_clip=dict(max_norm=35, norm_type=2))
