"""The loss weights of the scenes' study: for each method, on another seed and split.

python tools/study.py configs/studies/scenes_weights.py        (docs/evidence.md)
"""

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
    dct=(0.3, 1.0, 3.0),  # the first, with the DCT of the whole map in place of Haar's wavelet
    raw=(0.01, 0.03, 0.1),  # FreeKD on the maps as they are, L1: the paper's form
    cwd=(30.0, 100.0, 300.0),
    pkd=(20.0, 60.0, 200.0, 600.0),
    mgd=(1e-3, 2.6e-3, 8e-3),
    fgd=(7.0, 20.0),
)
_pair = "configs/{}/retinanet_r18w32_r18w8_scenes.py"
rows = dict(alone=dict(config=_pair.format("pkd"), student_only=True, label="student alone"))
for _method, _weights in _grid.items():
    for _weight in _weights:
        _name = "freekd" if _method in ("map", "dct", "raw") else _method
        _options = {f"pair.losses.{_name}.loss_weight": _weight}
        if _name == "freekd":
            _options["pair.losses.freekd.prompts"] = None  # all places alike
        if _method == "map":
            _options["pair.losses.freekd.average"] = "map"
        if _method == "dct":
            _options["pair.losses.freekd.transform"] = "dct"
        if _method == "raw":
            _options["pair.losses.freekd.normalize"] = None
            _options["pair.losses.freekd.distance"] = "l1"
        rows[f"{_method}_{_weight:g}"] = dict(config=_pair.format(_name), options=_options)
