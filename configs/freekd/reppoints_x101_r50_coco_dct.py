"""Ablation: the cosine transform: 41.9 AP in the paper."""

_base_ = ["reppoints_x101_r50_coco.py"]
pair = dict(
    losses=dict(
        freekd=dict(transform="dct", prompts="work_dirs/prompt/reppoints_x101_coco_dct/prompts.pth")
    )
)
