"""Ablation: the Fourier transform: 42.0 AP in the paper."""

_base_ = ["reppoints_x101_r50_coco.py"]
pair = dict(
    losses=dict(
        freekd=dict(transform="dft", prompts="work_dirs/prompt/reppoints_x101_coco_dft/prompts.pth")
    )
)
