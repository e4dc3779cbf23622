"""The loss weights of the scenes' study: for each method, on another seed and split.

python tools/study.py configs/studies/scenes_weights.py        (docs/evidence_more.md)
"""

from freekd.study.shorthand import loss_row

name = "scenes_weights"
work_dir = "work_dirs/studies/scenes_weights"
baseline = "alone"
seeds = [10]
data = dict(
    val=dict(ann_file="data/scenes/annotations/tune.json", img_prefix="data/scenes/tune/")
)  # the reported split is val
_grid = dict(
    freekd=(0.3, 1.0, 3.0),  # standardised channels, squared difference
    map=(10.0, 30.0, 100.0),  # the same, each coefficient alike
    shift=(0.3, 1.0, 3.0),  # the first, with maps that are moved over the wavelet's grid
    dct=(0.3, 1.0, 3.0),  # the first, with the DCT of the whole map in place of Haar's wavelet
    block=(0.3, 1.0, 3.0),  # with the DCT of blocks of 8 x 8
    db4=(0.3, 1.0, 3.0),  # with longer wavelets
    bior=(0.3, 1.0, 3.0),
    raw=(0.01, 0.03, 0.1),  # FreeKD on the maps as they are, L1: the paper's form
    cwd=(30.0, 100.0, 300.0),
    pkd=(20.0, 60.0, 200.0, 600.0),
    pkd_bands=(60.0, 200.0, 600.0),  # on the high bands of Haar's wavelet
    pkd_dct=(60.0, 200.0, 600.0),  # on the high bands of the DCT
    mgd=(1e-3, 2.6e-3, 8e-3),
    fgd=(7.0, 20.0),
)
_ours = dict(  # what a form of FreeKD's loss adds to all places alike
    freekd={},
    map=dict(average="map"),
    shift=dict(shift=True),
    dct=dict(transform="dct"),
    block=dict(transform=dict(type="dct", block=8)),
    db4=dict(transform=dict(type="dwt", wavelet="db4", mode="periodization")),
    bior=dict(transform=dict(type="dwt", wavelet="bior4.4", mode="periodization")),
    raw=dict(normalize=None, distance="l1"),
)
_peers = dict(
    pkd_bands=dict(domain="frequency"),
    pkd_dct=dict(domain="frequency", transform="dct"),
)
_pair = "configs/{}/retinanet_r18w32_r18w8_scenes.py"
rows = dict(alone=dict(config=_pair.format("pkd"), student_only=True, label="student alone"))
for _form, _weights in _grid.items():
    _loss = "freekd" if _form in _ours else _form.split("_")[0]
    _said = _peers.get(_form, {})
    if _form in _ours:
        _said = {**dict(prompts=None, shift=False), **_ours[_form]}
    for _weight in _weights:
        _name = f"{_form}_{_weight:g}"
        rows[_name] = loss_row(_pair.format(_loss), _loss, _name, loss_weight=_weight, **_said)
