"""12 epochs, SGD, for 8 GPUs of 2 images (lr 0.02 for 16 images)."""

from freekd.zoo.stock import stock_path

_base_ = [stock_path("mmdet::_base_/schedules/schedule_1x.py")]
