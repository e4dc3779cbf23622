"""MobileNetV2 on ImageNet: a student without a teacher."""

_base_ = ["../datasets/imagenet.py", "../schedules/imagenet_step_300e.py", "../default_runtime.py"]
pair = dict(teacher=None, student="mmcls::mobilenet_v2/mobilenet-v2_8xb32_in1k.py")
