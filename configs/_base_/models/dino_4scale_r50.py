"""DINO, 4 scales, on a ResNet-50, as in mmdet 3.x (49.0 AP after 12 epochs there)."""

attention = dict(type="MultiScaleDeformableAttention", embed_dims=256, num_levels=4, dropout=0.0)
ffn = dict(
    type="FFN", embed_dims=256, feedforward_channels=2048, num_fcs=2, ffn_drop=0.0,
    act_cfg=dict(type="ReLU", inplace=True),
)  # fmt: skip
model = dict(
    type="DINO",
    backbone=dict(
        type="ResNet",
        depth=50,
        num_stages=4,
        out_indices=(1, 2, 3),
        frozen_stages=1,
        norm_cfg=dict(type="BN", requires_grad=False),
        norm_eval=True,
        style="pytorch",
        init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet50"),
    ),
    neck=dict(
        type="ChannelMapper",
        in_channels=[512, 1024, 2048],
        kernel_size=1,
        out_channels=256,
        act_cfg=None,
        norm_cfg=dict(type="GN", num_groups=32),
        num_outs=4,
    ),
    bbox_head=dict(
        type="DINOHead",
        num_query=900,
        num_classes=80,
        in_channels=256,
        sync_cls_avg_factor=True,
        dn_cfg=dict(num_dn_queries=100, label_noise_scale=0.5, box_noise_scale=1.0),
        transformer=dict(
            type="DINOTransformer",
            num_feature_levels=4,
            encoder=dict(
                type="DetrTransformerEncoder",
                num_layers=6,
                transformerlayers=dict(
                    type="BaseTransformerLayer",
                    attn_cfgs=attention,
                    ffn_cfgs=ffn,
                    operation_order=("self_attn", "norm", "ffn", "norm"),
                ),
            ),
            decoder=dict(
                type="DINOTransformerDecoder",
                num_layers=6,
                transformerlayers=dict(
                    type="DetrTransformerDecoderLayer",
                    attn_cfgs=[
                        dict(type="MultiheadAttention", embed_dims=256, num_heads=8, dropout=0.0),
                        attention,
                    ],
                    ffn_cfgs=ffn,
                    feedforward_channels=2048,
                    ffn_dropout=0.0,
                    operation_order=("self_attn", "norm", "cross_attn", "norm", "ffn", "norm"),
                ),
            ),
        ),
        positional_encoding=dict(
            type="SinePositionalEncoding", num_feats=128, normalize=True, offset=0.0, temperature=20
        ),
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type="L1Loss", loss_weight=5.0),
        loss_iou=dict(type="GIoULoss", loss_weight=2.0),
    ),
    train_cfg=dict(
        assigner=dict(
            type="HungarianAssigner",
            cls_cost=dict(type="FocalLossCost", weight=2.0),
            reg_cost=dict(type="BBoxL1Cost", weight=5.0, box_format="xywh"),
            iou_cost=dict(type="IoUCost", iou_mode="giou", weight=2.0),
        )
    ),
    test_cfg=dict(max_per_img=300),
)
