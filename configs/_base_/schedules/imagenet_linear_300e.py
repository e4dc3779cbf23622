"""300 epochs of SGD, the rate falls in a line, for 1024 images a step, as stock ShuffleNetV2."""

from freekd.zoo.stock import stock_path

_base_ = [stock_path("mmcls::_base_/schedules/imagenet_bs1024_linearlr_bn_nowd.py")]
