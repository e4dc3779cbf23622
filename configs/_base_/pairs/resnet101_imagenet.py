"""ResNet-101 on ImageNet: a student without a teacher."""

_base_ = ["../imagenet_100e.py"]
pair = dict(teacher=None, student="mmcls::resnet/resnet101_8xb32_in1k.py")
