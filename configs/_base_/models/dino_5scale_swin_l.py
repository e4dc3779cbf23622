"""DINO, 5 scales, on a Swin-L, as in mmdet 3.x (57.2 AP after 12 epochs there)."""

_base_ = ["dino_4scale_r50.py"]
model = dict(
    backbone=dict(
        _delete_=True,
        type="SwinTransformer",
        pretrain_img_size=384,
        embed_dims=192,
        depths=[2, 2, 18, 2],
        num_heads=[6, 12, 24, 48],
        window_size=12,
        mlp_ratio=4,
        qkv_bias=True,
        qk_scale=None,
        drop_rate=0.0,
        attn_drop_rate=0.0,
        drop_path_rate=0.2,
        patch_norm=True,
        out_indices=(0, 1, 2, 3),
        with_cp=True,
        convert_weights=True,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://github.com/SwinTransformer/storage/releases/download/v1.0.0/"
            "swin_large_patch4_window12_384_22k.pth",
        ),
    ),
    neck=dict(in_channels=[192, 384, 768, 1536], num_outs=5),
    bbox_head=dict(
        transformer=dict(
            num_feature_levels=5,
            encoder=dict(transformerlayers=dict(attn_cfgs=dict(num_levels=5))),
            decoder=dict(
                transformerlayers=dict(
                    attn_cfgs=[
                        dict(type="MultiheadAttention", embed_dims=256, num_heads=8, dropout=0.0),
                        dict(
                            type="MultiScaleDeformableAttention",
                            embed_dims=256,
                            num_levels=5,
                            dropout=0.0,
                        ),
                    ]
                )
            ),
        )
    ),
)
