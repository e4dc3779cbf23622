"""Faster R-CNN R101 -> R50: who teaches whom, on which data, for how long."""

_base_ = ["../coco_2x.py"]
pair = dict(
    teacher="mmdet::faster_rcnn/faster_rcnn_r101_fpn_2x_coco.py",
    teacher_checkpoint="https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r101_fpn_2x_coco/faster_rcnn_r101_fpn_2x_coco_bbox_mAP-0.398_20200504_210455-1d2dac9c.pth",  # noqa: E501
    student="mmdet::faster_rcnn/faster_rcnn_r50_fpn_2x_coco.py",
)
