"""COCO as FCOS's caffe backbones want it: BGR, no division, shorter side 640 or 800."""

from freekd.zoo.stock import stock

data, evaluation = stock(
    "mmdet::fcos/fcos_r50_caffe_fpn_gn-head_mstrain_640-800_2x_coco.py", "data", "evaluation"
)
task = "det"
data_help = "Put COCO 2017 there: ln -s /path/to/coco data/coco"
