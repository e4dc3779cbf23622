"""The best student of the bundled task: it also starts with the teacher's neck and head."""

_base_ = ["retinanet_r34_r18_digits.py"]
pair = dict(inherit=["neck", "bbox_head"])
