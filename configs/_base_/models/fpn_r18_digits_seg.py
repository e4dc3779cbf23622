"""A narrow ResNet-18 with a small feature pyramid, from random weights: 0.8 million weights."""

norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    type="EncoderDecoder",
    backbone=dict(
        type="ResNet",
        depth=18,
        stem_channels=16,
        base_channels=16,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        dilations=(1, 1, 1, 1),
        strides=(1, 2, 2, 2),
        norm_cfg=norm_cfg,
        norm_eval=False,
        style="pytorch",
    ),
    neck=dict(type="FPN", in_channels=[16, 32, 64, 128], out_channels=32, num_outs=4),
    decode_head=dict(
        type="FPNHead",
        in_channels=[32, 32, 32, 32],
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=32,
        dropout_ratio=0.1,
        num_classes=11,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(
            type="CrossEntropyLoss",
            loss_weight=1.0,
            avg_non_ignore=True,
            class_weight=[0.2] + [1.0] * 10,  # six of seven pixels are background
        ),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
