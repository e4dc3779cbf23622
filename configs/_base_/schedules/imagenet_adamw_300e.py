"""300 epochs of AdamW for 1024 images a step: 20 of warm-up, cosine, as stock DeiT and Swin."""

from freekd.zoo.stock import stock_path

_base_ = [stock_path("mmcls::_base_/schedules/imagenet_bs1024_adamw_swin.py")]
optimizer = dict(
    paramwise_cfg=dict(
        custom_keys={".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)}
    )
)
