"""ImageNet as stock mmcls reads it: crops and flips, 224 pixels."""

from freekd.zoo.stock import stock_path

_base_ = [stock_path("mmcls::_base_/datasets/imagenet_bs32.py")]
task = "cls"
data_help = "Put ImageNet there: ln -s /path/to/imagenet data/imagenet"
