"""ShuffleNetV2 1.0 on ImageNet: a student without a teacher."""

_base_ = [
    "../datasets/imagenet.py",
    "../schedules/imagenet_linear_300e.py",
    "../default_runtime.py",
]
pair = dict(teacher=None, student="mmcls::shufflenet_v2/shufflenet-v2-1x_16xb64_in1k.py")
data = dict(samples_per_gpu=128)
