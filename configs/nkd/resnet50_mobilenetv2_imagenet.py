"""NKD: ResNet-50 -> MobileNetV2 on ImageNet, in place of MobileNetV1."""

_base_ = ["../_base_/pairs/resnet50_mobilenetv2_imagenet.py"]
pair = dict(losses=dict(nkd=dict(tau=1.0, gamma=1.5)))
