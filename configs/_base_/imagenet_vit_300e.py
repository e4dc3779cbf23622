"""ImageNet, the recipe of DeiT: 300 epochs of AdamW, 8 x 128 images a step.

Mixup, CutMix and label smoothing belong to the student's model: stock mmcls's DeiT and Swin have
them."""

_base_ = [
    "datasets/imagenet_randaugment_erasing.py",
    "schedules/imagenet_adamw_300e.py",
    "default_runtime.py",
]
