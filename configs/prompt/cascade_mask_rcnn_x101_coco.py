"""Stage 1: prompts of Cascade Mask R-CNN X101-64x4d (45.6 AP)."""

_base_ = ["../_base_/coco_instance_prompt.py"]
prompt = dict(
    teacher="mmdet::cascade_rcnn/cascade_mask_rcnn_x101_64x4d_fpn_20e_coco.py",
    teacher_checkpoint="https://download.openmmlab.com/mmdetection/v2.0/cascade_rcnn/cascade_mask_rcnn_x101_64x4d_fpn_20e_coco/cascade_mask_rcnn_x101_64x4d_fpn_20e_coco_20200512_161033-bdb5126a.pth",  # noqa: E501
)
