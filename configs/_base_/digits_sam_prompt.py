"""Stage 1 on the bundled set of Segment Anything: 300 iterations."""

_base_ = [
    "datasets/digits_sam.py",
    "schedules/prompt_2k.py",
    "default_runtime.py",
]
custom_imports = dict(imports=["freekd.distill", "freekd.models.sam", "freekd.datasets.sam"])
runner = dict(max_iters=300)
evaluation = dict(interval=300)
checkpoint_config = dict(interval=100)
