"""Swin-L -> ResNet-50, 100 epochs."""

_base_ = ["../_base_/pairs/swin_large_resnet50_imagenet.py"]
pair = dict(
    losses=dict(
        scalekd=dict(
            stage3=dict(student_dims=1024, teacher_dims=768, query_hw=14, pos_hw=14, num_heads=16),
            stage4=dict(student_dims=2048, teacher_dims=1536, query_hw=7, pos_hw=7, num_heads=24),
        ),
        kd=dict(tau=1.0, alpha=0.5),
    ),
)
