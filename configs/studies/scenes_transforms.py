"""Which transform on the scenes, and why: all places alike in other bands, and PKD on such bands.

python tools/study.py configs/studies/scenes_transforms.py --jobs 2        (docs/evidence.md)

Haar's bands leak: each holds much of others' frequencies. Longer wavelets leak less, a cosine or
Fourier transform of the whole map hardly. And Haar's blocks, as those of a DCT of blocks, lie on a
grid, which the rows "moved" take away. The teacher must be there:
configs/teacher/retinanet_r18w32_scenes.py says how it is made.
"""

from freekd.study.shorthand import loss_row

name = "scenes_transforms"
work_dir = "work_dirs/studies/scenes_transforms"
baseline = "haar"
seeds = [0, 1, 2, 3, 4]
_pair = "configs/{}/retinanet_r18w32_r18w8_scenes.py"


def _row(label, shift=False, **options):
    """A row of FreeKD's loss without prompts."""
    options.update(prompts=None, loss_weight=1.0, shift=shift)
    return loss_row(_pair.format("freekd"), "freekd", label, **options)


def _peer(label, **options):
    """A row of PKD's."""
    return loss_row(_pair.format("pkd"), "pkd", label, **options)


_blocks = dict(type="dct", block=8)
_bands = dict(domain="frequency")
rows = dict(
    haar=_row("Haar"),
    shift=_row("Haar, moved over its grid at each step", shift=True),
    db4=_row("db4", transform=dict(type="dwt", wavelet="db4", mode="periodization")),
    bior=_row("bior4.4", transform=dict(type="dwt", wavelet="bior4.4", mode="periodization")),
    block=_row("DCT of blocks of 8 x 8", transform=_blocks),
    block_shift=_row("DCT of blocks, moved", transform=_blocks, shift=True),
    dct=_row("DCT", transform="dct"),
    dft=_row("DFT", transform="dft"),
    pkd=_peer("PKD"),
    pkd_bands=_peer("PKD on the high bands: Haar", **_bands),
    pkd_dct=_peer("PKD on the high bands: DCT", transform="dct", loss_weight=600.0, **_bands),
)
