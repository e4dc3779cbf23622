"""Stage 1 with the cosine transform of the whole map, an ablation of the paper."""

_base_ = ["reppoints_x101_coco.py"]
prompt = dict(transform="dct")
