"""ImageNet, the recipe of ResNet strikes back: 300 epochs of Lamb, 8 x 256 images a step.

Mixup, CutMix and the loss of the head belong to the student's model: stock mmcls's
resnet/resnet50_8xb256-rsb-a2-300e_in1k.py has them."""

_base_ = [
    "datasets/imagenet_randaugment.py",
    "schedules/imagenet_lamb_300e.py",
    "default_runtime.py",
]
