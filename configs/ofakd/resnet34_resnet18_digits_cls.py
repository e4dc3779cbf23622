"""OFA-KD on the bundled classification task."""

_base_ = ["../_base_/pairs/resnet34_resnet18_digits_cls.py"]
pair = dict(losses=dict(ofakd=dict(eps=1.0, stages_weight=0.3)))
