"""A small DINO that a CPU trains in minutes, from random weights: 50 queries, 2 + 2 layers."""

attention = dict(type="MultiScaleDeformableAttention", embed_dims=64, num_heads=4, num_levels=3)
ffn = dict(type="FFN", embed_dims=64, feedforward_channels=128, num_fcs=2, ffn_drop=0.0)
model = dict(
    type="DINO",
    backbone=dict(
        type="ResNet",
        depth=18,
        base_channels=16,
        num_stages=4,
        out_indices=(1, 2, 3),
        frozen_stages=-1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=False,
        style="pytorch",
    ),
    neck=dict(
        type="ChannelMapper",
        in_channels=[32, 64, 128],
        kernel_size=1,
        out_channels=64,
        act_cfg=None,
        norm_cfg=dict(type="GN", num_groups=8),
        num_outs=3,
    ),
    bbox_head=dict(
        type="DINOHead",
        num_query=50,
        num_classes=10,
        in_channels=64,
        sync_cls_avg_factor=True,
        dn_cfg=dict(num_dn_queries=20),
        transformer=dict(
            type="DINOTransformer",
            num_feature_levels=3,
            encoder=dict(
                type="DetrTransformerEncoder",
                num_layers=2,
                transformerlayers=dict(
                    type="BaseTransformerLayer",
                    attn_cfgs=dict(attention, dropout=0.0),
                    ffn_cfgs=ffn,
                    operation_order=("self_attn", "norm", "ffn", "norm"),
                ),
            ),
            decoder=dict(
                type="DINOTransformerDecoder",
                num_layers=2,
                transformerlayers=dict(
                    type="DetrTransformerDecoderLayer",
                    attn_cfgs=[
                        dict(type="MultiheadAttention", embed_dims=64, num_heads=4, dropout=0.0),
                        dict(attention, dropout=0.0),
                    ],
                    ffn_cfgs=ffn,
                    feedforward_channels=128,
                    ffn_dropout=0.0,
                    operation_order=("self_attn", "norm", "cross_attn", "norm", "ffn", "norm"),
                ),
            ),
        ),
        positional_encoding=dict(
            type="SinePositionalEncoding", num_feats=32, normalize=True, offset=0.0, temperature=20
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
    test_cfg=dict(max_per_img=50),
)
