"""COCO boxes and masks, for teachers whose own loss needs masks (stage 1 of a Mask R-CNN)."""

from freekd.zoo.stock import stock_path

_base_ = [stock_path("mmdet::_base_/datasets/coco_instance.py")]
task = "det"
data_help = "Put COCO 2017 there: ln -s /path/to/coco data/coco"
