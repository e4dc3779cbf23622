"""Stage 1 with the Fourier transform of the whole map, an ablation of the paper."""

_base_ = ["reppoints_x101_coco.py"]
prompt = dict(transform="dft")
