"""Stage 2 on the bundled task with the paper's loss as it stands: raw features, L1."""

_base_ = ["retinanet_r34_r18_digits.py"]
pair = dict(losses=dict(freekd=dict(normalize=None, distance="l1", loss_weight=0.02)))
