"""CWD on the scenes, on the neck; the weight is that of configs/studies/scenes_weights.py."""

_base_ = ["../_base_/pairs/retinanet_r18w32_r18w8_scenes.py"]
pair = dict(losses=dict(cwd=dict(align="conv1x1", loss_weight=100.0)))
