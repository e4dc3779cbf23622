"""Does it matter where a student looks? Every form of weights on the scenes, and the peers.

python tools/study.py configs/studies/scenes_prompts.py --jobs 2        (docs/evidence.md)

The teacher must be there: configs/teacher/retinanet_r18w32_scenes.py says how it is made.
"""

from freekd.study.shorthand import masked_row, prompt_row

name = "scenes_prompts"
work_dir = "work_dirs/studies/scenes_prompts"
baseline = "uniform"
seeds = [0, 1, 2, 3, 4]
_pair = "configs/{}/retinanet_r18w32_r18w8_scenes.py"


def _row(label, prompts=None, shift=False, **options):
    """A row of FreeKD's loss: weights of mean 1 and no gate, so that the places alone differ."""
    options.update(loss_weight=1.0, shift=shift)
    return masked_row(_pair.format("freekd"), "freekd", label, prompts, **options)


_stage1 = "configs/prompt/retinanet_r18w32_scenes.py"
_energy = dict(form="energy", gate=None, dissimilarity_reduction="mean")
_bias = dict(form="energy_bias", gate=None, dissimilarity_reduction="mean")
rows = dict(
    published=prompt_row(_stage1),
    mean_dis=prompt_row(_stage1, dissimilarity_reduction="mean"),
    energy_form=prompt_row(_stage1, **_energy, sparsity=0.2),
    bias_form=prompt_row(_stage1, **_bias, sparsity=0.5),
    bottleneck=prompt_row(_stage1, **_bias, sparsity=1.0, fill="noise"),
    alone=dict(config=_pair.format("freekd"), student_only=True, label="student alone"),
    uniform=_row("all places alike"),
    boxes_50=_row("oracle: boxes get half of the weight", where="boxes", box_share=0.5),
    energy=_row("(e) the teacher's energy, unlearned", where="energy"),
    prompts=_row("prompts as published", "published"),
    prompts_mean=_row("(b) L_dis as a mean", "mean_dis"),
    prompts_energy=_row("(a, b, c) on energy, a price", "energy_form"),
    prompts_bias=_row("(a, b, c) on energy with a bias, a price", "bias_form"),
    prompts_noise=_row("(c) noise for what is masked", "bottleneck"),
    prompts_norm=_row("(d) noise, each mask by its own sum", "bottleneck", mask_norm="sum"),
    refined=_row("(f) noise, refined by the student's masks", "bottleneck", student_masks_from=126),
)
for _method in ("cwd", "pkd", "mgd", "fgd"):
    rows[_method] = dict(config=_pair.format(_method), label=_method.upper())
