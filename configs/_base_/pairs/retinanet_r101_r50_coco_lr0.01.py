"""RetinaNet R101 -> R50 at the stock students' rate, with the stock warm-up."""

_base_ = ["retinanet_r101_r50_coco.py"]
optimizer = dict(lr=0.01)
lr_config = dict(warmup_iters=500)
