"""The same on the high bands of the Haar transform, as in the FreeKD paper's appendix."""

_base_ = ["retinanet_r34_r18_digits.py"]
pair = dict(losses=dict(pkd=dict(domain="frequency")))
