"""The mean squared error of SAM ViT-H -> ViT-Tiny, stage 2a: the image embedding."""

_base_ = ["../_base_/pairs/sam_vit_h_vit_tiny_encoder.py"]
pair = dict(losses=dict(mimic=dict(align=None, loss_weight=1.0)))
