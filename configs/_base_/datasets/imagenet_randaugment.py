"""ImageNet with RandAugment, as stock mmcls has it for ResNet strikes back."""

from freekd.zoo.stock import stock_path

_base_ = [stock_path("mmcls::_base_/datasets/imagenet_bs256_rsb_a12.py")]
task = "cls"
data_help = "Put ImageNet there: ln -s /path/to/imagenet data/imagenet"
