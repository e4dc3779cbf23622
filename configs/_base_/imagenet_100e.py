"""ImageNet: 100 epochs of SGD, 8 x 32 images a step."""

_base_ = [
    "datasets/imagenet.py",
    "schedules/imagenet_100e.py",
    "default_runtime.py",
]
