"""50 epochs of stock Deformable DETR, for 32 images."""

from freekd.zoo.stock import stock

optimizer, optimizer_config, lr_config, runner = stock(
    "mmdet::deformable_detr/deformable_detr_r50_16x2_50e_coco.py",
    "optimizer",
    "optimizer_config",
    "lr_config",
    "runner",
)
