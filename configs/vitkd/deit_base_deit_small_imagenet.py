"""ViTKD: DeiT-B -> DeiT-S on ImageNet; DeiT stands for the paper's DeiT-III."""

_base_ = ["../_base_/pairs/deit_base_deit_small_imagenet.py"]
pair = dict(losses=dict(vitkd=dict(alpha=3e-5, beta=3e-6, mask_share=0.5)))
