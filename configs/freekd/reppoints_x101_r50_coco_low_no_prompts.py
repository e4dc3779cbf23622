"""Ablation: the low band alone, without prompts: 40.7 AP in the paper."""

_base_ = ["reppoints_x101_r50_coco.py"]
pair = dict(losses=dict(freekd=dict(bands="low", prompts=None)))
