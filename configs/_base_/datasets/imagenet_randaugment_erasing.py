"""ImageNet with RandAugment and random erasing, as stock mmcls has them for DeiT and Swin."""

from freekd.zoo.stock import stock_path

_base_ = [stock_path("mmcls::_base_/datasets/imagenet_bs64_swin_224.py")]
task = "cls"
data_help = "Put ImageNet there: ln -s /path/to/imagenet data/imagenet"
data = dict(samples_per_gpu=128)
