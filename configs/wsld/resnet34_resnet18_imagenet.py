"""WSLD: ResNet-34 -> ResNet-18 on ImageNet."""

_base_ = ["../_base_/pairs/resnet34_resnet18_imagenet.py"]
pair = dict(losses=dict(wsld=dict(tau=2.0, alpha=2.5)))
