"""PKD on the scenes, on the neck; the weight is that of configs/studies/scenes_weights.py."""

_base_ = ["../_base_/pairs/retinanet_r18w32_r18w8_scenes.py"]
pair = dict(losses=dict(pkd=dict(loss_weight=200.0)))
