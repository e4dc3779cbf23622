"""100 epochs of SGD, a tenth of the rate after 30, 60 and 90, for 256 images a step."""

from freekd.zoo.stock import stock_path

_base_ = [stock_path("mmcls::_base_/schedules/imagenet_bs256.py")]
