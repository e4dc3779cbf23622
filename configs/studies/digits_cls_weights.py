"""The weights of the bundled classification task's methods, on another split and another seed.

python tools/make_digits.py --task cls --seed 7 --out data/digits_cls7
python tools/study.py configs/studies/digits_cls_weights.py        (docs/results.md)
"""

name = "digits_cls_weights"
work_dir = "work_dirs/studies/digits_cls_weights"
baseline = "alone"
seeds = [100]
data = dict(
    train=dict(data_prefix="data/digits_cls7/train"), val=dict(data_prefix="data/digits_cls7/val")
)
_pair = "configs/{}/resnet34_resnet18_digits_cls.py"
_grid = dict(
    kd=("alpha", (0.3, 0.5, 0.9)),
    dkd=("beta", (1.0, 3.0, 8.0)),
    wsld=("alpha", (0.75, 2.25, 7.0)),
    nkd=("gamma", (1.0, 3.5, 10.0)),
    srrl=("beta", (1.0, 5.0, 25.0)),
    mgd=("loss_weight", (1.2e-4, 1.2e-3, 1.2e-2)),
    ofakd=("stages_weight", (0.1, 0.3, 1.0)),
    scalekd=("loss_weight", (0.3, 1.0, 3.0)),
    ufdkd=("loss_weight", (0.3, 1.0, 3.0)),
)
rows = dict(
    teacher=dict(config="configs/teacher/resnet34_digits_cls.py", seed=100),
    alone=dict(config="configs/baseline/resnet18_digits_cls.py", label="student alone"),
)
for _method, (_option, _values) in _grid.items():
    for _value in _values:
        rows[f"{_method}_{_value:g}"] = dict(
            config=_pair.format(_method),
            options={
                "pair.teacher_checkpoint": "{teacher}/latest.pth",
                f"pair.losses.{_method}.{_option}": _value,
            },
        )
for _value in (0.1, 0.3, 1.0):  # no teacher
    rows[f"uskd_{_value:g}"] = dict(
        config="configs/uskd/resnet18_digits_cls.py",
        options={f"pair.losses.uskd.{_name}": _value for _name in ("alpha", "beta", "mu")},
    )
