"""Ablation: the high bands alone, with prompts: 42.3 AP in the paper."""

_base_ = ["reppoints_x101_r50_coco.py"]
pair = dict(losses=dict(freekd=dict(bands="high")))
