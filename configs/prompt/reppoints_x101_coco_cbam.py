"""Stage 1 with the CBAM gate, an ablation of the paper."""

_base_ = ["reppoints_x101_coco.py"]
prompt = dict(gate="cbam")
