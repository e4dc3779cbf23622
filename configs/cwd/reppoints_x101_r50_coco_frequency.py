"""Ablation: CWD on the high bands: 42.0 AP in the FreeKD paper."""

_base_ = ["reppoints_x101_r50_coco.py"]
pair = dict(losses=dict(cwd=dict(domain="frequency")))
