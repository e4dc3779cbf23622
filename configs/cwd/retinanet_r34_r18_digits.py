"""CWD on the bundled task: each channel of the neck as a distribution over its positions."""

_base_ = ["../_base_/pairs/retinanet_r34_r18_digits.py"]
pair = dict(losses=dict(cwd=dict(align="conv1x1", loss_weight=30.0)))
