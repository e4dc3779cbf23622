"""Student of the bundled set of Segment Anything alone; its decoder starts as the teacher's."""

_base_ = ["../_base_/models/sam_tiny_w24.py", "../_base_/digits_sam.py"]
model = dict(decoder_checkpoint="work_dirs/teacher/sam_tiny_w96_digits/latest.pth")
runner = dict(max_epochs=16)  # as long as both stages of a distillation
