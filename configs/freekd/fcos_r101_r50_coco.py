"""FCOS R101 -> R50: 38.5 -> 42.9 AP in the paper."""

_base_ = ["../_base_/pairs/fcos_r101_r50_coco.py"]
pair = dict(
    losses=dict(
        freekd=dict(prompts="work_dirs/prompt/fcos_r101_coco/prompts.pth", loss_weight=5.0),
        mimic=dict(loss_weight=10.0),
    ),
    inherit=["neck", "bbox_head"],
)
