"""Ablation: the CBAM gate: 42.1 AP in the paper."""

_base_ = ["reppoints_x101_r50_coco.py"]
pair = dict(
    losses=dict(
        freekd=dict(gate="cbam", prompts="work_dirs/prompt/reppoints_x101_coco_cbam/prompts.pth")
    )
)
