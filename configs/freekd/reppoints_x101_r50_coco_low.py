"""Ablation: the low band alone, with prompts: 41.0 AP in the paper."""

_base_ = ["reppoints_x101_r50_coco.py"]
pair = dict(losses=dict(freekd=dict(bands="low")))
