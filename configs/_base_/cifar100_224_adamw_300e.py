"""CIFAR-100 in 224 pixels: 300 epochs of AdamW, 8 x 128 images a step, for transformers."""

_base_ = [
    "datasets/cifar100_224.py",
    "schedules/cifar100_adamw_300e.py",
    "default_runtime.py",
]
