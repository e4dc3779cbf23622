"""UFD-KD: with KD, MLP-Mixer-B -> DeiT-T on CIFAR-100."""

_base_ = ["../_base_/pairs/mixer_base_deit_tiny_cifar100.py"]
pair = dict(losses=dict(kd=dict(tau=1.0, alpha=0.5), ufdkd=dict(
    student_dims=192, teacher_dims=768, query_hw=(14, 14), pos_hw=(14, 14), num_heads=32,
)))  # fmt: skip
