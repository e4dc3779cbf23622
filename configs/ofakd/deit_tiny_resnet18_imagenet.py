"""OFA-KD: DeiT-T -> ResNet-18 on ImageNet."""

_base_ = ["../_base_/pairs/deit_tiny_resnet18_imagenet.py"]
pair = dict(losses=dict(ofakd=dict(eps=1.5)))
