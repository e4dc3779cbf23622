"""The bundled set for a student that learns embeddings: its images alone are trained on."""

from freekd.datasets.sam_steps import training_steps

_base_ = ["digits_sam.py"]
data = dict(train=dict(masks=False, pipeline=training_steps(128, masks=False)))
