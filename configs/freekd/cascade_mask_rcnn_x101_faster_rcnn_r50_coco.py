"""Cascade Mask R-CNN X101-64x4d -> Faster R-CNN R50: 38.4 -> 42.4 AP in the paper."""

_base_ = ["../_base_/coco_2x.py"]
pair = dict(
    teacher="mmdet::cascade_rcnn/cascade_mask_rcnn_x101_64x4d_fpn_20e_coco.py",
    teacher_checkpoint="https://download.openmmlab.com/mmdetection/v2.0/cascade_rcnn/cascade_mask_rcnn_x101_64x4d_fpn_20e_coco/cascade_mask_rcnn_x101_64x4d_fpn_20e_coco_20200512_161033-bdb5126a.pth",  # noqa: E501
    student="configs/_base_/models/faster_rcnn_r50_agnostic.py",
    prompts="work_dirs/prompt/cascade_mask_rcnn_x101_coco/prompts.pth",
    freekd=dict(loss_weight=1.0),
    mse=dict(loss_weight=2.0),
    regression=[dict(student="roi_head.bbox_head.fc_reg", teacher="roi_head.bbox_head.0.fc_reg")],
    inherit=["neck"],
)
optimizer_config = dict(_delete_=True, grad_clip=dict(max_norm=35, norm_type=2))
