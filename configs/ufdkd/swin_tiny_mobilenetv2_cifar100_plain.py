"""UFD-KD: with KD, Swin-T -> MobileNetV2 on CIFAR-100, the student's map as it is."""

_base_ = ["../_base_/pairs/swin_tiny_mobilenetv2_cifar100.py"]
pair = dict(losses=dict(kd=dict(tau=1.0, alpha=0.5), ufdkd=dict(
    student_dims=1280, teacher_dims=768, query_hw=(7, 7), pos_hw=(7, 7), num_heads=24,
    upsample=1,
)))  # fmt: skip
