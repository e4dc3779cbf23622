"""Does it matter where a student looks? The scenes' question on the bundled detection task.

python tools/study.py configs/studies/digits_places.py --jobs 2        (docs/evidence.md)
"""

name = "digits_places"
work_dir = "work_dirs/studies/digits_places"
baseline = "uniform"
seeds = [0, 1, 2]
_pair = "configs/freekd/retinanet_r34_r18_digits.py"
_teacher = {"pair.teacher_checkpoint": "{teacher}/latest.pth"}
_key = "pair.losses.freekd."


def _row(label, prompts=None, **options):
    """A row of FreeKD's loss: weights of mean 1 and no gate, so that the places alone differ."""
    said = {"loss_weight": 1.0, "prompts": None}
    if prompts is not None:
        said.update(prompts=f"{{{prompts}}}/prompts.pth", gate=None, mask_norm="mean")
    said.update(options)
    return dict(
        config=_pair, label=label, options={**_teacher, **{_key + k: v for k, v in said.items()}}
    )


def _stage1(**options):
    """Prompts, learned once for all rows that use them."""
    said = {f"prompt.{name}": value for name, value in options.items()}
    said["prompt.teacher_checkpoint"] = "{teacher}/latest.pth"
    return dict(config="configs/prompt/retinanet_r34_digits.py", seed=0, options=said)


rows = dict(
    teacher=dict(config="configs/teacher/retinanet_r34_digits.py", seed=0),
    published=_stage1(),
    bottleneck=_stage1(
        form="energy_bias",
        gate=None,
        dissimilarity_reduction="mean",
        sparsity=1.0,
        fill="noise",
    ),
    alone=dict(config=_pair, student_only=True, label="student alone"),
    uniform=_row("all places alike"),
    boxes_50=_row("oracle: boxes get half of the weight", where="boxes", box_share=0.5),
    energy=_row("(e) the teacher's energy, unlearned", where="energy"),
    prompts=_row("prompts as published", "published"),
    prompts_noise=_row("(c) noise for what is masked", "bottleneck"),
)
