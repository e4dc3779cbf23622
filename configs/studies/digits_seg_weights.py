"""The loss weights of the bundled segmentation task's methods, on another split and another seed.

python tools/make_digits.py --task seg --seed 7 --out data/digits_seg7
python tools/study.py configs/studies/digits_seg_weights.py        (docs/results.md)
"""

name = "digits_seg_weights"
work_dir = "work_dirs/studies/digits_seg_weights"
baseline = "alone"
seeds = [100]
data = dict(train=dict(data_root="data/digits_seg7"), val=dict(data_root="data/digits_seg7"))
_pair = "configs/{}/fpn_r34_r18_digits_seg.py"
_grid = dict(
    freekd=(0.003, 0.01, 0.03, 0.1),  # raw maps, L1: the paper's form
    standardised=(0.03, 0.1, 0.3, 1.0, 3.0),  # FreeKD on standardised channels, squared difference
    cwd=(1.0, 3.0, 10.0),
    fourierkd=(0.1, 0.4, 1.2, 4.0),
    ufdkd=(0.03, 0.1, 0.3, 1.0),
)
rows = dict(
    teacher=dict(config="configs/teacher/fpn_r34_digits_seg.py", seed=100),
    alone=dict(config="configs/baseline/fpn_r18_digits_seg.py", label="student alone"),
)
for _method, _weights in _grid.items():
    _name = "freekd" if _method == "standardised" else _method
    for _weight in _weights:
        _options = {
            "pair.teacher_checkpoint": "{teacher}/latest.pth",
            f"pair.losses.{_name}.loss_weight": _weight,
        }
        if _name == "freekd":
            _options["pair.losses.freekd.prompts"] = None
        if _method == "standardised":
            _options["pair.losses.freekd.normalize"] = "channel"
            _options["pair.losses.freekd.distance"] = "l2"
        rows[f"{_method}_{_weight:g}"] = dict(config=_pair.format(_name), options=_options)
