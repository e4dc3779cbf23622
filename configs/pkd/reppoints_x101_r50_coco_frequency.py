"""Ablation: PKD on the high bands: 42.1 AP in the FreeKD paper."""

_base_ = ["reppoints_x101_r50_coco.py"]
pair = dict(losses=dict(pkd=dict(domain="frequency")))
