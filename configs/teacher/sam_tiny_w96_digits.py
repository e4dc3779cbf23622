"""Teacher of the bundled set of Segment Anything."""

_base_ = ["../_base_/models/sam_tiny_w96.py", "../_base_/digits_sam.py"]
runner = dict(max_epochs=16)
