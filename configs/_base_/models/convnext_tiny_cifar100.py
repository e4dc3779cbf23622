"""ConvNeXt-T for CIFAR-100 in 224 pixels, from ImageNet's weights.

Its last norm is before the mean over the places, so that the backbone gives a normed map.
"""

model = dict(
    config="mmcls::convnext/convnext-tiny_32xb128_in1k.py",
    backbone=dict(gap_before_final_norm=False),
    init_cfg=dict(
        type="Pretrained",
        checkpoint="https://download.openmmlab.com/mmclassification/v0/convnext/convnext-tiny_3rdparty_32xb128-noema_in1k_20220222-2908964a.pth",  # noqa: E501
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(num_classes=100),
)
