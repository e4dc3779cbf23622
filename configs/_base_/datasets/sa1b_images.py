"""SA-1B for a student that learns the teacher's embeddings: its images alone are trained on."""

from freekd.datasets.sam_steps import training_steps

_base_ = ["sa1b.py"]
data = dict(train=dict(masks=False, pipeline=training_steps(1024, masks=False)))
