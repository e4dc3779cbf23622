"""Ablation: the squeeze-and-excitation gate: 42.2 AP in the paper."""

_base_ = ["reppoints_x101_r50_coco.py"]
pair = dict(
    losses=dict(
        freekd=dict(gate="se", prompts="work_dirs/prompt/reppoints_x101_coco_se/prompts.pth")
    )
)
