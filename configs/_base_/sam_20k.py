"""Segment Anything without a teacher, for as long as both stages take: 20 000 iterations."""

_base_ = ["sam_decoder_10k.py"]
optimizer = dict(lr=8e-4)
lr_config = dict(step=[13333, 19259])
runner = dict(max_iters=20000)
