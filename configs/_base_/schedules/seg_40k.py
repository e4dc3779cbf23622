"""40 000 iterations, SGD, poly; for 16 crops. Checkpoints and mIoU every 4000."""

from freekd.zoo.stock import stock_path

_base_ = [stock_path("mmseg::_base_/schedules/schedule_40k.py")]
