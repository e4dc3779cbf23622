"""Does it matter where a student looks once Haar's grid is gone? Weights and gates, each moved.

python tools/study.py configs/studies/scenes_moved.py --jobs 2        (docs/evidence_more.md)

Rows of scenes_prompts.py and scenes_ablations.py with shift=True; the prompts' gate "position" with
it is in scenes_ablations.py.
"""

from freekd.study.shorthand import masked_row, prompt_row

name = "scenes_moved"
work_dir = "work_dirs/studies/scenes_moved"
baseline = "shift"
seeds = [0, 1, 2, 3, 4]


def _row(label, prompts=None, **options):
    """A row of FreeKD's loss, moved; masks have the mean 1, so that no row is merely weaker."""
    options.update(loss_weight=1.0, shift=True)
    pair = "configs/freekd/retinanet_r18w32_r18w8_scenes.py"
    return masked_row(pair, "freekd", label, prompts, **options)


_stage1 = "configs/prompt/retinanet_r18w32_scenes.py"
_energy = dict(gate=None, dissimilarity_reduction="mean")
rows = dict(
    energy_form=prompt_row(_stage1, form="energy", sparsity=0.2, **_energy),
    bottleneck=prompt_row(_stage1, form="energy_bias", sparsity=1.0, fill="noise", **_energy),
    se=prompt_row(_stage1, gate="se"),
    cbam=prompt_row(_stage1, gate="cbam"),
    nonlocal_=prompt_row(_stage1, gate="nonlocal"),
    shift=_row("all places alike"),
    boxes_50=_row("oracle: boxes get half of the weight", where="boxes", box_share=0.5),
    energy=_row("(e) the teacher's energy, unlearned", where="energy"),
    prompts_energy=_row("(a, b, c) on energy, a price", "energy_form"),
    prompts_noise=_row("(c) noise for what is masked", "bottleneck"),
    prompts_norm=_row("(d) noise, each mask by its own sum", "bottleneck", mask_norm="sum"),
    refined=_row("(f) noise, refined by the student's masks", "bottleneck", student_masks_from=126),
    gate_se=_row("prompts and gate: se", "se", gate="auto"),
    gate_cbam=_row("prompts and gate: cbam", "cbam", gate="auto"),
    gate_nonlocal=_row("prompts and gate: nonlocal", "nonlocal_", gate="auto"),
)
