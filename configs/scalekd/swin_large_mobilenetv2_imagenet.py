"""Swin-L -> MobileNetV2, 300 epochs of Lamb; with the paper's settings for MobileNetV1."""

_base_ = ["../_base_/pairs/swin_large_mobilenetv2_imagenet.py"]
pair = dict(
    losses=dict(
        scalekd=dict(
            stage3=dict(student_dims=96, teacher_dims=768, query_hw=14, pos_hw=14, num_heads=16),
            stage4=dict(student_dims=1280, teacher_dims=1536, query_hw=7, pos_hw=7, num_heads=24),
        ),
        kd=dict(tau=1.0, alpha=0.5),
    ),
)
