"""DKD: ResNet-34 -> ResNet-18 on ImageNet."""

_base_ = ["../_base_/pairs/resnet34_resnet18_imagenet.py"]
pair = dict(losses=dict(dkd=dict(tau=1.0, alpha=1.0, beta=0.5)))
