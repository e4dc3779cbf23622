"""Stage 1 with the squeeze-and-excitation gate, an ablation of the paper."""

_base_ = ["reppoints_x101_coco.py"]
prompt = dict(gate="se")
