"""Study files: what is refused before anything runs, and the runs that come of them."""

import copy
import shlex
import sys
from pathlib import Path

import pytest

from freekd import cli
from freekd.config.errors import ConfigError
from freekd.config.losses import read_entry
from freekd.frequency.transform import TRANSFORMS
from freekd.gates import GATES
from freekd.study import plan, settings
from freekd.study.definition import load_study, make_study
from freekd.study.plan import Launch

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted((ROOT / "configs" / "studies").glob("*.py"))
ALONE = str(ROOT / "configs/baseline/retinanet_r18_digits.py")
PAIR = str(ROOT / "configs/mimic/retinanet_r34_r18_digits.py")
SAID = dict(
    name="mine",
    baseline="alone",
    seeds=[0, 1],
    options={"optimizer.lr": 0.01},
    data=dict(val=dict(ann_file="a.json")),
    rows=dict(
        teacher=dict(config=ALONE, seed=7),
        alone=ALONE,
        mimic=dict(
            config=PAIR,
            label="imitation",
            options={"pair.teacher_checkpoint": "{teacher}/latest.pth", "optimizer.lr": 0.02},
        ),
        after=dict(config=PAIR, options=dict(load_from="{mimic}/latest.pth"), student_only=True),
    ),
)


def changed(**keys):
    said = copy.deepcopy(SAID)
    for key, value in keys.items():
        node, names = said, key.split("__")
        for name in names[:-1]:
            node = node[name]
        node[names[-1]] = value
    return said


# --------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("said", "words"),
    [
        (changed(basline="x"), "got 'basline'; the nearest is baseline"),
        (changed(rows__mimic__lable="x"), "rows.mimic: expected the keys"),
        (changed(baseline="frekd"), "baseline: expected one of the rows that are trained with"),
        (changed(baseline="teacher"), "(alone, mimic, after), got 'teacher'"),
        (changed(seeds=[]), "seeds: expected different numbers"),
        (changed(seeds=[1, 1]), "seeds: expected different numbers, got [1, 1]"),
        (changed(seeds=[-1]), "got -1"),
        (changed(seeds=3), "seeds: expected a list of numbers, got 3"),
        (changed(rows={}), "expected at least one row"),
        (changed(rows__alone=3), "rows.alone: expected a dict"),
        (changed(rows__alone={}), "rows.alone.config: expected the path of a config, got nothing"),
        (changed(rows__mimic__needs=["techer"]), "needs 'techer'"),
        (changed(rows__mimic__options={"a": "{techer}/x"}), "the nearest is teacher"),
        (changed(rows__teacher__needs="alone"), "is trained once (seed=7) and needs rows.alone"),
        (changed(rows__mimic__needs=["after"]), "circle"),
        (changed(rows__mimic__needs=["mimic"]), "mimic -> mimic"),
        (changed(name="a/b"), "folders are called so"),
        (changed(rows={"seed0": ALONE}), "and not 'seed0'"),
        (changed(metric=3), "metric: expected the name of a score"),
    ],
)
def test_refused_by_its_text(said, words):
    with pytest.raises(ConfigError) as error:
        make_study(said)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (dict(rows__alone="configs/nowhere.py"), "rows.alone: Expected a config file"),
        (dict(options={"optimzer.lr": 1}), "Nearest: optimizer"),
        (dict(options={"optimizer.type": "1"}), "cannot be said on a command line"),
        (dict(metric="mIoU"), "gives bbox_mAP, bbox_mAP_50"),
        (
            dict(
                metric="mIoU", data={}, rows__alone="mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"
            ),
            "rows.alone gives bbox_mAP, bbox_mAP_50",
        ),
        (dict(rows__mimic__options={"evaluation": None}), "rows.mimic: expected a config that"),
    ],
)
def test_refused_before_anything_runs(keys, words):
    study = make_study(changed(**keys))
    with pytest.raises(ConfigError) as error:
        settings.check_study(plan.make_runs(study), study.metric)
    assert words in str(error.value)


def test_two_data_sets_in_one_table(tmp_path):
    files = {}
    for name, text in (("a", "1"), ("b", "2"), ("same", "1")):
        files[name] = str(tmp_path / f"{name}.json")
        Path(files[name]).write_text(text)
    key = "data.val.ann_file"

    def check(first, second):
        rows = dict(
            alone=dict(config=ALONE, options={key: files[first]}),
            other=dict(config=ALONE, options={key: files[second]}),
        )
        study = make_study(dict(name="x", baseline="alone", rows=rows))
        return settings.check_study(plan.make_runs(study), None)

    with pytest.raises(ConfigError, match="one data set in one table") as error:
        check("a", "b")
    assert files["a"] in str(error.value) and files["b"] in str(error.value)
    assert "alone" in str(error.value) and "other" in str(error.value)
    assert check("a", "same")["alone"].scores[0] == "bbox_mAP"  # it is what they hold that counts


# --------------------------------------------------------------------------- runs
def test_runs_and_their_order():
    runs = plan.make_runs(make_study(SAID))
    assert list(runs) == [
        "teacher", "alone, seed 0", "mimic, seed 0", "after, seed 0",
        "alone, seed 1", "mimic, seed 1", "after, seed 1",
    ]  # fmt: skip
    work = Path("work_dirs/mine")
    assert runs["teacher"].folder == work / "teacher" and runs["teacher"].seed == 7
    mimic = runs["mimic, seed 1"]
    assert mimic.folder == work / "seed1" / "mimic" and mimic.needs == ("teacher",)
    assert mimic.options == {
        "data.val.ann_file": "a.json",
        "optimizer.lr": 0.02,  # the row's own before the study's
        "pair.teacher_checkpoint": "work_dirs/mine/teacher/latest.pth",
    }
    after = runs["after, seed 1"]
    assert after.needs == ("mimic, seed 1",)  # of the same seed
    assert after.options["load_from"] == "work_dirs/mine/seed1/mimic/latest.pth"


def test_needs_come_first_whatever_the_order_of_the_file():
    rows = dict(reversed(list(SAID["rows"].items())))
    runs = plan.make_runs(make_study(changed(rows=rows)))
    order = list(runs)
    for name, run in runs.items():
        assert all(order.index(need) < order.index(name) for need in run.needs)
    assert len(order) == 7


def test_a_command_is_read_as_it_was_meant():
    """Oracle: the tool's own parser."""
    options = {"a": [1, "x"], "b": (2, 0.5), "c": None, "d": True, "e": "t/x.pth", "f": 1e-4}
    run = plan.make_runs(make_study(changed(options=options)))["after, seed 1"]
    command, environment = plan.train_command(run, Launch(device="cpu"))
    assert command[0] == sys.executable and environment == {}
    args = cli.train(command[2:])
    assert (args.config, args.seed, args.work_dir) == (PAIR, 1, "work_dirs/mine/seed1/after")
    assert args.auto_resume and args.student_only and args.device == "cpu"
    found = cli.cfg_options(args)
    assert found == {**options, **run.options}
    typed = shlex.split(plan.typed(command, environment))
    assert typed[0] == "python" and typed[1:] == command[1:]


def test_launchers():
    run = plan.make_runs(make_study(SAID))["mimic, seed 1"]
    command, environment = plan.train_command(run, Launch(gpus=4))
    assert command[0] == "bash" and command[1].endswith("tools/dist_train.sh")
    assert command[2:4] == [PAIR, "4"] and environment == {}
    command, environment = plan.train_command(run, Launch("slurm", 8, "gpu"))
    assert command[1].endswith("tools/slurm_train.sh") and environment == {"GPUS": "8"}
    assert command[2:5] == ["gpu", "mimic-1", PAIR]
    assert cli.train(command[4:]).seed == 1  # what the launcher hands on
    assert plan.typed(command, environment).startswith("GPUS=8 bash ")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_every_run_belongs_to_one_shard(count):
    study = make_study(changed(seeds=[0, 1, 2]))
    runs = plan.make_runs(study)
    parts = [plan.shard(runs, number, count) for number in range(1, count + 1)]
    assert sorted(name for part in parts for name in part) == sorted(runs)
    sizes = [len(part) for part in parts]
    chains = {name for run in runs.values() for name in run.needs}
    if count == 2:
        assert max(sizes) - min(sizes) <= len(chains)
    for part in parts:  # in the order of the whole
        assert part == [name for name in runs if name in part]
    place = {name: number for number, part in enumerate(parts) for name in part}
    assert place["mimic, seed 1"] == place["teacher"]  # both are needed: a chain


def test_gpus_of_jobs_side_by_side():
    given = [plan.devices_of_job(job, 4, 2, 8) for job in range(4)]
    assert given == ["0,1", "2,3", "4,5", "6,7"]
    assert plan.devices_of_job(0, 1, 1, 8) is None and plan.devices_of_job(1, 2, 1, 0) is None
    assert [plan.devices_of_job(job, 3, 2, 5) for job in range(3)] == ["0,1", "2,3", "0,1"]
    given = [plan.devices_of_job(job, 3, 1, 3, "4, 6,GPU-a") for job in range(3)]
    assert given == ["4", "6", "GPU-a"]  # those that the caller left visible
    with pytest.raises(ConfigError, match="at most the 2 GPUs"):
        plan.devices_of_job(0, 1, 4, 2)


# --------------------------------------------------------------------------- what a run depends on
def test_a_key_goes_by_what_files_hold(tmp_path, monkeypatch):
    def key(folder, **keys):
        said = dict(name="x", work_dir=str(folder / "w"), baseline="a", rows=dict(a=ALONE))
        said["options"] = {"load_from": str(folder / "w.pth"), **keys}
        run = plan.make_runs(make_study(said))["a, seed 0"]
        return settings.key_of(run, settings.read_settings(run))

    for name in ("one", "two", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "w.pth").write_text("other" if name == "other" else "same")
    one = key(tmp_path / "one")
    assert one == key(tmp_path / "two")  # another place, on another machine
    assert one != key(tmp_path / "other")
    assert one != key(tmp_path / "one", **{"optimizer.lr": 0.5})
    monkeypatch.setattr("freekd.__version__", "0")
    assert one != key(tmp_path / "one")


@pytest.mark.parametrize(
    "option, said",
    [
        ("pair.losses.freekd.loss_wieght", "FreeKDLoss has unknown keys.*loss_wieght"),
        ("pair.losses.freekd.levels", "pair.losses.freekd.levels: expected"),
        ("pair.losses.frekd.loss_weight", "there is no method 'frekd'; nearest: freekd"),
    ],
)
def test_an_option_that_a_loss_has_not_is_refused_before_anything_runs(option, said):
    rows = dict(a=dict(config=PAIR, student_only=True), b=dict(config=PAIR, options={option: 0.5}))
    study = make_study(dict(name="x", baseline="a", rows=rows))
    with pytest.raises(ConfigError, match=f"rows.b: .*{said}"):
        settings.check_study(plan.make_runs(study), None)


def test_a_row_may_have_a_transform_and_a_gate_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "own_parts.py").write_text(
        "from freekd.frequency.dct import CosineTransform\n"
        "from freekd.gates import GATES, Gate\n"
        "from freekd.frequency.transform import TRANSFORMS\n\n\n"
        "@TRANSFORMS.register('of_mine')\nclass Own(CosineTransform):\n    pass\n\n\n"
        "@GATES.register('of_mine')\nclass OwnGate(Gate):\n"
        "    def __init__(self, channels):\n        super().__init__()\n"
    )
    (tmp_path / "pair.py").write_text(
        f"_base_ = [{str(ROOT / 'configs/freekd/retinanet_r34_r18_digits.py')!r}]\n"
        "custom_imports = dict(imports=['own_parts'], allow_failed_imports=False)\n"
        "pair = dict(losses=dict(freekd=dict(prompts=None, transform='of_mine')))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = str(tmp_path / "pair.py")

    def check(**options):
        rows = dict(a=dict(config=config, options=options))
        study = make_study(dict(name="x", baseline="a", rows=rows))
        settings.check_study(plan.make_runs(study), None)

    try:
        check()
        named = {"pair.losses.freekd.prompts": "a.pth", "pair.losses.freekd.gate": "of_mine"}
        check(**named)
        with pytest.raises(ConfigError, match="rows.a: .*gate.*'of_mime'"):
            check(**{**named, "pair.losses.freekd.gate": "of_mime"})
        with pytest.raises(ConfigError, match="rows.a: .*'of_mime'.*of_mine"):
            check(**{"pair.losses.freekd.transform": "of_mime"})
    finally:
        TRANSFORMS.classes.pop("of_mine", None)
        GATES.classes.pop("of_mine", None)
        sys.modules.pop("own_parts", None)


def test_a_student_alone_does_not_go_by_the_teacher(tmp_path):
    def keys(text):
        (tmp_path / "teacher.pth").write_text(text)
        options = {"pair.teacher_checkpoint": str(tmp_path / "teacher.pth")}
        rows = dict(a=dict(config=PAIR, student_only=True), b=dict(config=PAIR))
        study = make_study(dict(name="x", baseline="a", rows=rows, options=options))
        runs = plan.make_runs(study).values()
        return [settings.key_of(run, settings.read_settings(run)) for run in runs]

    (alone, distilled), (same, other) = keys("one"), keys("another")
    assert alone == same and distilled != other and alone != distilled


def test_a_key_goes_by_the_models_that_a_config_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text("model = dict(type='RetinaNet', depth=1)")
    first = settings.content("model.py")
    settings._config_text.cache_clear()  # another process
    Path("model.py").write_text("model = dict(type='RetinaNet',   depth=1)  # the same")
    assert settings.content("model.py") == first
    settings._config_text.cache_clear()
    Path("model.py").write_text("model = dict(type='RetinaNet', depth=2)")
    assert settings.content("model.py") != first


# --------------------------------------------------------------------------- what is shipped
@pytest.mark.parametrize("path", STUDIES, ids=[path.stem for path in STUDIES])
def test_shipped_studies(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    study = load_study(str(path))
    runs = plan.make_runs(study)
    rows = settings.check_study(runs, study.metric)
    assert study.name == path.stem
    score = dict(cls="accuracy_top-1", seg="mIoU")
    main = score.get(path.stem.split("_")[1], "bbox_mAP")
    assert {row: found.scores[0] for row, found in rows.items()} == dict.fromkeys(rows, main)
    for row, found in rows.items():  # no run ends with an option that its loss has not
        for name, options in found.config.get("pair", {}).get("losses", {}).items():
            if options is not None:
                read_entry(name, options, f"{row}, {name}", found.config.get("task"))
    if "teacher" not in study.rows:  # a file beside the study
        return
    untaught = [run for run in runs.values() if run.row in ("teacher", "alone", "baseline")]
    students = [run for run in runs.values() if run not in untaught and "uskd" not in run.row]
    seeds = dict(weights=1, places=5)  # the others have three
    assert len(study.seeds) == seeds.get(path.stem.split("_")[-1], 3)
    assert students and all("teacher" in run.needs for run in students)
    assert len(untaught) == 1 + len(study.seeds) and not any(run.needs for run in untaught)


def test_the_study_of_the_page():
    text = (ROOT / "docs" / "study.md").read_text()
    said = {}
    exec(text.split("```python\n")[1].split("```")[0], {}, said)
    study = make_study(dict(said, name="x"))
    assert len(plan.make_runs(study)) == 9 and study.rows["alone"].student_only


def test_scores_that_tasks_name():
    from freekd import tasks

    det, seg, cls = (tasks.get(name) for name in ("det", "seg", "cls"))
    assert det.score_names("mmdet.CocoDataset", ["bbox", "segm"], {})[0] == "bbox_mAP"
    assert det.score_names("VOCDataset", "mAP", {}) == ()
    assert seg.score_names("CityscapesDataset", "mIoU", {}) == ("mIoU", "aAcc", "mAcc")
    assert seg.score_names("CityscapesDataset", ["cityscapes"], {}) == ()
    assert cls.score_names("ImageNet", "accuracy", {"topk": (1,)}) == ("accuracy_top-1",)
    assert cls.score_names("ImageNet", "accuracy", {"topk": 1}) == ("accuracy",)


def test_needs_are_names():
    rows = dict(alone="x.py", a=dict(config="x.py", needs=[["alone"]]))
    with pytest.raises(ConfigError, match=r"rows.a.needs: expected names of rows, got \['alone'\]"):
        make_study(dict(name="x", rows=rows, baseline="alone"))
