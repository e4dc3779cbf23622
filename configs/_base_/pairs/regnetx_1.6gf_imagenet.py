"""RegNetX-1.6GF on ImageNet: a student without a teacher.

The stock config also changes the colours of its images by chance (Lighting); this one does not."""

_base_ = [
    "../datasets/imagenet.py",
    "../schedules/imagenet_cosine_100e.py",
    "../default_runtime.py",
]
pair = dict(teacher=None, student="mmcls::regnet/regnetx-1.6gf_8xb128_in1k.py")
data = dict(samples_per_gpu=128)
stock_hooks = dict(PreciseBNHook=None)  # it would load batches of its own
