"""ViTKD with NKD beside it: DeiT-B -> DeiT-S on ImageNet; DeiT stands for the paper's DeiT-III."""

_base_ = ["deit_base_deit_small_imagenet.py"]
pair = dict(losses=dict(nkd=dict(tau=1.0, gamma=1.0)))
