"""Teacher: DINO Swin-L, 5 scales, 12 epochs; mmdet 3.x has weights of it (57.2 AP there)."""

_base_ = [
    "../_base_/models/dino_5scale_swin_l.py",
    "../_base_/coco_dino_12e.py",
]
