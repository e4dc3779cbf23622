"""MGD: ResNet-34 -> ResNet-18 on ImageNet, the last map."""

_base_ = ["../_base_/pairs/resnet34_resnet18_imagenet.py"]
pair = dict(losses=dict(mgd=dict(mask_share=0.15, loss_weight=7e-5)))
