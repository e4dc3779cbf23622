"""UFD-KD: DeepLabV3 R101 -> R18, half the KL of each pixel's 150 classes (75 of the mean).

The authors clip the projectors' gradient at a norm of 15; optimizer_config.grad_clip clips all.
"""

_base_ = ["../_base_/pairs/deeplabv3_r101_deeplabv3_r18_ade20k.py"]
pair = dict(
    losses=dict(
        ufdkd=dict(student_dims=512, teacher_dims=2048),
        pixels=dict(
            type="KLDivergence", module="decode_head.conv_seg", reduction="mean", loss_weight=75.0
        ),
    )
)
