"""300 epochs of Lamb for 2048 images a step: 5 of warm-up, cosine, as ResNet strikes back (A2)."""

from freekd.zoo.stock import stock_path

_base_ = [stock_path("mmcls::_base_/schedules/imagenet_bs2048_rsb.py")]
optimizer = dict(paramwise_cfg=dict(bias_decay_mult=0.0, norm_decay_mult=0.0))
runner = dict(max_epochs=300)
