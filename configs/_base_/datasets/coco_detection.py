"""COCO boxes, as stock mmdet reads them; the images are expected in data/coco/."""

from freekd.zoo.stock import stock_path

_base_ = [stock_path("mmdet::_base_/datasets/coco_detection.py")]
task = "det"
data_help = "Put COCO 2017 there: ln -s /path/to/coco data/coco"
