"""Ablation: the high bands alone, without prompts: 41.8 AP in the paper."""

_base_ = ["reppoints_x101_r50_coco.py"]
pair = dict(losses=dict(freekd=dict(bands="high", prompts=None)))
