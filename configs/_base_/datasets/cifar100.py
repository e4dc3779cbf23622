"""CIFAR-100 as stock mmcls reads it: crops of 32 pixels, flips. mmcls downloads it itself."""

from freekd.zoo.stock import stock_path

_base_ = [stock_path("mmcls::_base_/datasets/cifar100_bs16.py")]
task = "cls"
data_help = "Put CIFAR-100 there (cifar-100-python/): ln -s /path/to/cifar100 data/cifar100"
data = dict(samples_per_gpu=128)
evaluation = dict(interval=10, metric="accuracy")
