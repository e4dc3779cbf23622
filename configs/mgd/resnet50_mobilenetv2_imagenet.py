"""MGD: ResNet-50 -> MobileNetV2 on ImageNet, in place of MobileNetV1, the last map."""

_base_ = ["../_base_/pairs/resnet50_mobilenetv2_imagenet.py"]
pair = dict(losses=dict(mgd=dict(mask_share=0.15, loss_weight=7e-5)))
