"""Ablation: the non-local gate: 41.9 AP in the paper."""

_base_ = ["reppoints_x101_r50_coco.py"]
pair = dict(
    losses=dict(
        freekd=dict(
            gate="nonlocal", prompts="work_dirs/prompt/reppoints_x101_coco_nonlocal/prompts.pth"
        )
    )
)
