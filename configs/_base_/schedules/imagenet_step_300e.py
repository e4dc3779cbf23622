"""300 epochs of SGD, 0.98 of the rate after each, for 256 images a step, as stock MobileNetV2."""

from freekd.zoo.stock import stock_path

_base_ = [stock_path("mmcls::_base_/schedules/imagenet_bs256_epochstep.py")]
