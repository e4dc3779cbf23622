"""Swin-T on ImageNet: a student without a teacher."""

_base_ = ["../imagenet_vit_300e.py"]
pair = dict(teacher=None, student="mmcls::swin_transformer/swin-tiny_16xb64_in1k.py")
