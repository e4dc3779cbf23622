"""Stage 1 on SA-1B: 2000 iterations of the prompts inside Segment Anything."""

_base_ = [
    "datasets/sa1b.py",
    "schedules/prompt_2k.py",
    "default_runtime.py",
]
custom_imports = dict(imports=["freekd.distill", "freekd.models.sam", "freekd.datasets.sam"])
