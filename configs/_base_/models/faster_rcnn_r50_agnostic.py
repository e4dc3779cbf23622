"""Faster R-CNN R50 with one box regression for all classes, as the stages of a cascade have."""

model = dict(
    config="mmdet::faster_rcnn/faster_rcnn_r50_fpn_2x_coco.py",
    roi_head=dict(bbox_head=dict(reg_class_agnostic=True)),
)
