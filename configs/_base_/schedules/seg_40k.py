"""40 000 iterations, SGD with lr 0.01 for 4 GPUs of 2 crops, poly. Saves, evaluates every 4000."""

from freekd.zoo.stock import stock_path

_base_ = [stock_path("mmseg::_base_/schedules/schedule_40k.py")]
