"""COCO with the augmentation of Deformable DETR."""

from freekd.zoo.stock import stock

data, evaluation = stock(
    "mmdet::deformable_detr/deformable_detr_r50_16x2_50e_coco.py", "data", "evaluation"
)
task = "det"
data_help = "Put COCO 2017 there: ln -s /path/to/coco data/coco"
