"""UFD-KD: Swin-T -> ResNet-18 on ImageNet.

The authors' config names KD beside it but switches it off: add kd=dict(tau=1.0, alpha=0.5).
"""

_base_ = ["../_base_/pairs/swin_tiny_resnet18_imagenet.py"]
pair = dict(losses=dict(ufdkd=dict(
    student_dims=512, teacher_dims=768, query_hw=(7, 7), pos_hw=(7, 7), num_heads=24,
)))  # fmt: skip
