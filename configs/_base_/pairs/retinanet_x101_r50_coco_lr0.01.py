"""RetinaNet X101-64x4d -> R50 at the stock students' rate."""

_base_ = ["retinanet_x101_r50_coco.py"]
optimizer = dict(lr=0.01)
