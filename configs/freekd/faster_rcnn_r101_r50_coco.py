"""Faster R-CNN R101 -> R50: 38.4 -> 40.8 AP in the paper."""

_base_ = ["../_base_/pairs/faster_rcnn_r101_r50_coco.py"]
pair = dict(
    losses=dict(
        freekd=dict(prompts="work_dirs/prompt/faster_rcnn_r101_coco/prompts.pth", loss_weight=0.8),
        mimic=dict(loss_weight=1.0),
        regression=dict(module="roi_head.bbox_head.fc_reg", loss_weight=1.0),
    ),
    inherit=["neck", "roi_head.bbox_head"],
)
