"""NKD: ResNet-34 -> ResNet-18 on ImageNet."""

_base_ = ["../_base_/pairs/resnet34_resnet18_imagenet.py"]
pair = dict(losses=dict(nkd=dict(tau=1.0, gamma=1.5)))
