"""The FreeKD paper's ablations on the scenes: bands, prompts, gates, transforms, peers on bands.

python tools/study.py configs/studies/scenes_ablations.py --jobs 2        (docs/evidence_more.md)

Standardised channels and the squared difference, as the scenes' other rows. The teacher must be
there: configs/teacher/retinanet_r18w32_scenes.py says how it is made.
"""

from freekd.study.shorthand import loss_row, masked_row, prompt_row

name = "scenes_ablations"
work_dir = "work_dirs/studies/scenes_ablations"
baseline = "all"
seeds = [0, 1, 2, 3, 4]
_pair = "configs/{}/retinanet_r18w32_r18w8_scenes.py"


def _row(label, prompts=None, shift=False, **options):
    """A row of FreeKD's loss; masks have the mean 1, so that no row is merely weaker."""
    options.update(loss_weight=1.0, shift=shift)
    return masked_row(_pair.format("freekd"), "freekd", label, prompts, **options)


_stage1 = "configs/prompt/retinanet_r18w32_scenes.py"  # the published prompts
_bands = dict(domain="frequency")  # of a peer: on the high bands
rows = dict(
    position=prompt_row(_stage1),
    se=prompt_row(_stage1, gate="se"),
    cbam=prompt_row(_stage1, gate="cbam"),
    nonlocal_=prompt_row(_stage1, gate="nonlocal"),
    dct=prompt_row(_stage1, transform="dct"),
    dft=prompt_row(_stage1, transform="dft"),
    all=_row("all bands"),
    low=_row("low band", bands="low"),
    high=_row("high bands", bands="high"),
    all_prompts=_row("all bands, prompts", "position"),
    low_prompts=_row("low band, prompts", "position", bands="low"),
    high_prompts=_row("high bands, prompts", "position", bands="high"),
    gate_position=_row("prompts and gate: position", "position", gate="auto"),
    prompts_shift=_row("all bands, prompts, moved", "position", shift=True),
    gate_shift=_row("prompts and gate: position, moved", "position", gate="auto", shift=True),
    gate_se=_row("prompts and gate: se", "se", gate="auto"),
    gate_cbam=_row("prompts and gate: cbam", "cbam", gate="auto"),
    gate_nonlocal=_row("prompts and gate: nonlocal", "nonlocal_", gate="auto"),
    dct_alike=_row("DCT, all bands", transform="dct"),
    dft_alike=_row("DFT, all bands", transform="dft"),
    all_dct=_row("DCT, prompts and gate", "dct", gate="auto"),
    all_dft=_row("DFT, prompts and gate", "dft", gate="auto"),
    cwd=dict(config=_pair.format("cwd"), label="CWD"),
    cwd_bands=loss_row(_pair.format("cwd"), "cwd", "CWD on the high bands", **_bands),
    pkd=dict(config=_pair.format("pkd"), label="PKD"),
    pkd_bands=loss_row(_pair.format("pkd"), "pkd", "PKD on the high bands", **_bands),
)
