"""Does it matter where a student looks? The scenes' question on the bundled detection task.

python tools/study.py configs/studies/digits_places.py --jobs 2        (docs/evidence_more.md)

The rows of digits_seg_places.py with this task's configs, and the oracle of the boxes.
"""

_base_ = ["digits_seg_places.py"]
name = "digits_places"
work_dir = "work_dirs/studies/digits_places"
_ours = dict(config="configs/freekd/retinanet_r34_r18_digits.py")
_stage_1 = dict(config="configs/prompt/retinanet_r34_digits.py")
rows = dict(
    teacher=dict(config="configs/teacher/retinanet_r34_digits.py"),
    published=_stage_1,
    bottleneck=_stage_1,
    alone=_ours,
    uniform=_ours,
    dct_alike=_ours,
    shift=_ours,
    energy=_ours,
    prompts=_ours,
    prompts_noise=_ours,
    bundled=_ours,
    bundled_shift=_ours,
    boxes_50=dict(
        config="configs/freekd/retinanet_r34_r18_digits.py",
        label="oracle: boxes get half of the weight",
        options={
            "pair.teacher_checkpoint": "{teacher}/latest.pth",
            "pair.losses.freekd.loss_weight": 1.0,
            "pair.losses.freekd.prompts": None,
            "pair.losses.freekd.where": "boxes",
            "pair.losses.freekd.box_share": 0.5,
        },
    ),
)
