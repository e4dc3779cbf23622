"""ViTKD: DeiT-S -> DeiT-T on ImageNet; DeiT stands for the paper's DeiT-III."""

_base_ = ["../_base_/pairs/deit_small_deit_tiny_imagenet.py"]
pair = dict(losses=dict(vitkd=dict(alpha=3e-5, beta=3e-6, mask_share=0.5)))
