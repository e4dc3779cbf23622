"""Cascade Mask R-CNN X101-64x4d -> Faster R-CNN R50: 38.4 -> 42.4 AP in the paper."""

_base_ = ["../_base_/pairs/cascade_mask_rcnn_x101_faster_rcnn_r50_coco.py"]
pair = dict(
    losses=dict(
        freekd=dict(
            prompts="work_dirs/prompt/cascade_mask_rcnn_x101_coco/prompts.pth", loss_weight=1.0
        ),
        mimic=dict(loss_weight=2.0),
        regression=dict(
            module=dict(student="roi_head.bbox_head.fc_reg", teacher="roi_head.bbox_head.0.fc_reg")
        ),
    ),
    inherit=["neck"],
)
