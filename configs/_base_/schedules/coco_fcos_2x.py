"""24 epochs, SGD with lr 0.01, biases twice that, clip 35: stock FCOS."""

from freekd.zoo.stock import stock

optimizer, optimizer_config, lr_config, runner = stock(
    "mmdet::fcos/fcos_r50_caffe_fpn_gn-head_mstrain_640-800_2x_coco.py",
    "optimizer",
    "optimizer_config",
    "lr_config",
    "runner",
)
