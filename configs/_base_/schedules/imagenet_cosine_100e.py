"""100 epochs of SGD, 5 of warm-up, cosine, for 1024 images a step, as stock RegNetX."""

from freekd.zoo.stock import stock_path

_base_ = [stock_path("mmcls::_base_/schedules/imagenet_bs1024_coslr.py")]
optimizer = dict(nesterov=True)
