"""DeiT-T on ImageNet: a student without a teacher."""

_base_ = ["../imagenet_vit_300e.py"]
pair = dict(teacher=None, student="mmcls::deit/deit-tiny_pt-4xb256_in1k.py")
