"""Ablation: all bands, without prompts (Eq. 3): 41.3 AP in the paper."""

_base_ = ["reppoints_x101_r50_coco.py"]
pair = dict(losses=dict(freekd=dict(prompts=None)))
