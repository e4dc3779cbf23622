"""NKD: DeiT-S -> DeiT-T on ImageNet; DeiT stands for the paper's DeiT-III."""

_base_ = ["../_base_/pairs/deit_small_deit_tiny_imagenet.py"]
pair = dict(losses=dict(nkd=dict(tau=1.0, gamma=1.0)))
