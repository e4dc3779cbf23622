"""ADE20K, 150 classes, in crops of 512x512; evaluated on whole images."""

from freekd.zoo.stock import stock_path

_base_ = [stock_path("mmseg::_base_/datasets/ade20k.py")]
task = "seg"
data_help = "Put ADEChallengeData2016 there: ln -s /path/to/ADEChallengeData2016 data/ade/"
