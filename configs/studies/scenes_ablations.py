"""The FreeKD paper's ablations on the scenes: bands, prompts, gates, transforms, peers on bands.

python tools/study.py configs/studies/scenes_ablations.py --jobs 2        (docs/evidence.md)

Standardised channels and the squared difference, as the scenes' other rows. The teacher must be
there: configs/teacher/retinanet_r18w32_scenes.py says how it is made.
"""

name = "scenes_ablations"
work_dir = "work_dirs/studies/scenes_ablations"
baseline = "all"
seeds = [0, 1, 2, 3, 4]
_pair = "configs/{}/retinanet_r18w32_r18w8_scenes.py"
_key = "pair.losses.freekd."


def _row(label, prompts=None, **options):
    """A row of FreeKD's loss; masks have the mean 1, so that no row is merely weaker."""
    said = {"loss_weight": 1.0, "prompts": None}
    if prompts is not None:
        said.update(prompts=f"{{{prompts}}}/prompts.pth", mask_norm="mean")
    said.update(options)
    return dict(
        config=_pair.format("freekd"),
        label=label,
        options={_key + k: v for k, v in said.items()},
    )


def _stage1(**options):
    """The published prompts, with another gate or transform."""
    said = {f"prompt.{name}": value for name, value in options.items()}
    return dict(config="configs/prompt/retinanet_r18w32_scenes.py", seed=0, options=said)


def _peer(method, label):
    """A method on the high bands."""
    options = {f"pair.losses.{method}.domain": "frequency"}
    return dict(config=_pair.format(method), label=label, options=options)


rows = dict(
    position=_stage1(),
    se=_stage1(gate="se"),
    cbam=_stage1(gate="cbam"),
    nonlocal_=_stage1(gate="nonlocal"),
    dct=_stage1(transform="dct"),
    dft=_stage1(transform="dft"),
    all=_row("all bands"),
    low=_row("low band", bands="low"),
    high=_row("high bands", bands="high"),
    all_prompts=_row("all bands, prompts", "position", gate=None),
    low_prompts=_row("low band, prompts", "position", gate=None, bands="low"),
    high_prompts=_row("high bands, prompts", "position", gate=None, bands="high"),
    gate_position=_row("prompts and gate: position", "position"),
    gate_se=_row("prompts and gate: se", "se"),
    gate_cbam=_row("prompts and gate: cbam", "cbam"),
    gate_nonlocal=_row("prompts and gate: nonlocal", "nonlocal_"),
    all_dct=_row("DCT, prompts and gate", "dct"),
    all_dft=_row("DFT, prompts and gate", "dft"),
    cwd=dict(config=_pair.format("cwd"), label="CWD"),
    cwd_bands=_peer("cwd", "CWD on the high bands"),
    pkd=dict(config=_pair.format("pkd"), label="PKD"),
    pkd_bands=_peer("pkd", "PKD on the high bands"),
)
