"""MGD on the bundled task: the teacher's neck, generated from the student's masked one."""

_base_ = ["../_base_/pairs/retinanet_r34_r18_digits.py"]
pair = dict(losses=dict(mgd=dict(loss_weight=2.6e-3)))
