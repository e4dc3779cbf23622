"""CWD on the scenes, on the neck; the weight is that of the bundled digits."""

_base_ = ["../_base_/pairs/retinanet_r18w32_r18w8_scenes.py"]
pair = dict(losses=dict(cwd=dict(align="conv1x1", loss_weight=30.0)))
