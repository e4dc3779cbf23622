"""Stage 1 on the bundled task: frequency prompts in the frozen RetinaNet-R34, 300 iterations."""

_base_ = [
    "../_base_/datasets/digits_detection.py",
    "../_base_/schedules/prompt_2k.py",
    "../_base_/default_runtime.py",
]
prompt = dict(
    teacher="configs/_base_/models/retinanet_r34_digits.py",
    teacher_checkpoint="work_dirs/digits/teacher/latest.pth",
)
runner = dict(max_iters=300)
evaluation = dict(interval=300)
checkpoint_config = dict(interval=100)
work_dir = "work_dirs/digits/prompts"
