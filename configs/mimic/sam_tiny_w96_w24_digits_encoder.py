"""The mean squared error on the bundled set, stage 2a: the image embedding."""

_base_ = ["../_base_/pairs/sam_tiny_w96_w24_digits_encoder.py"]
pair = dict(losses=dict(mimic=dict(align=None, loss_weight=1.0)))
