"""Stage 1 on the bundled task: frequency prompts in the frozen RetinaNet-R34."""

_base_ = [
    "../_base_/datasets/digits_detection.py",
    "../_base_/schedules/prompt_2k.py",
    "../_base_/default_runtime.py",
]
algorithm = dict(
    type="FrequencyPromptFinetune",
    architecture=dict(
        type="FrequencyPromptTeacher",
        model="configs/_base_/models/retinanet_r34_digits.py",
        checkpoint="work_dirs/digits/teacher/latest.pth",
        module="neck",
        channels=64,
        num_levels=3,
        num_prompts=2,
    ),
    dissimilarity="jaccard",
    dissimilarity_weight=1.0,
)
runner = dict(max_iters=300)
evaluation = dict(interval=300)
checkpoint_config = dict(interval=100)
work_dir = "work_dirs/digits/prompts"
