"""MGD on the scenes, on the neck; the weight is that of the bundled digits."""

_base_ = ["../_base_/pairs/retinanet_r18w32_r18w8_scenes.py"]
pair = dict(losses=dict(mgd=dict(loss_weight=2.6e-3)))
