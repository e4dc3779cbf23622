"""Both tools from the command line, for all tasks: files, kept results, and what is refused."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch
from engine.test_segmentation import CONFIG as SEG
from engine.test_segmentation import PLAIN
from tasks.test_cls import CONFIG as CLS

from freekd import compat

compat.apply()

from freekd.analysis import confusion, errors, models, results
from freekd.config import load
from freekd.engine import build
from freekd.engine.test import main as evaluate

MAINS = {"confusion": confusion.main, "errors": errors.main}


def save(config, task, path, classes, seed=0):
    """A checkpoint of random weights."""
    from mmcv.runner import save_checkpoint

    torch.manual_seed(seed)
    model = build.build_model(load.load_config(config), task)
    if task == "det":
        torch.nn.init.constant_(model.bbox_head.retina_cls.bias, 0.0)  # so that it finds something
    model.CLASSES = classes
    save_checkpoint(model, str(path))
    return str(path)


@pytest.fixture(scope="module")
def det(tiny, tmp_path_factory):
    """Config, two checkpoints, and the results of the first as mmdet writes them."""
    folder = tmp_path_factory.mktemp("det")
    config = tiny.config("analysis")
    paths = [save(config, "det", folder / f"{n}.pth", ("dark", "light"), n) for n in range(2)]
    out = folder / "0.pkl"
    assert evaluate([config, paths[0], "--out", str(out), "--json", str(folder / "0.json")]) == 0
    import pickle

    from mmdet.datasets import build_dataset

    dataset = build_dataset(load.load_config(config).data.test)
    dataset.format_results(pickle.loads(out.read_bytes()), jsonfile_prefix=str(folder / "0"))
    scores = json.loads((folder / "0.json").read_text())["metrics"]
    return config, paths, str(folder / "0.bbox.json"), scores


def record(folder, kind):
    found = json.loads((folder / f"{kind}.json").read_text())
    assert found["kind"] == kind and found["versions"]["freekd"]
    assert found["command"].startswith(f"python tools/analysis/{kind}.py ")
    for name in found["pictures"]:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    return found


@pytest.fixture(scope="module")
def both(det, tmp_path_factory):
    """Both tools on two models; the second tool uses what the first has kept."""
    config, paths, _, _ = det
    out = tmp_path_factory.mktemp("both")
    args = [config, f"first={paths[0]}", paths[1], "--out", str(out), "--device", "cpu"]
    args += ["--score-thr", "0.4"]
    assert confusion.main(args) == 0
    run, results.run = results.run, None  # not callable
    try:
        assert errors.main(args) == 0
    finally:
        results.run = run
    return out


def test_confusion_of_two_detectors(det, both):
    found = record(both, "confusion")
    assert found["classes"] == ["dark", "light", "background"] and found["task"] == "det"
    assert [found[key] for key in ("iou_thr", "score_thr", "counting")] == [0.5, 0.4, "every"]
    assert [one["name"] for one in found["models"]] == ["first", "1"]
    for one in found["models"]:
        text = (both / f"confusion_{one['name']}.csv").read_text()
        rows = list(csv.reader(text.splitlines()))
        assert rows[0] == ["labelled as", "dark", "light", "background"]
        assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == one["matrix"]
        assert np.sum(one["matrix"]) > 7
    assert found["models"][0]["matrix"] != found["models"][1]["matrix"]


def test_errors_of_two_detectors(det, both):
    found, scores = record(both, "errors"), det[3]
    first = found["models"][0]
    for ours, theirs in (("AP", "bbox_mAP"), ("AP50", "bbox_mAP_50"), ("AP75", "bbox_mAP_75")):
        assert first[ours] == pytest.approx(scores[theirs], abs=6e-4)
    assert first["by_size"]["small"]["AP"] == pytest.approx(scores["bbox_mAP_s"], abs=6e-4)
    annotated = sum(row["objects"] for row in first["by_class"].values())
    assert sum(first["objects"].values()) == annotated == 10
    (compared,) = found["compared"]
    assert (compared["reference"], compared["model"]) == ("first", "1")
    rows = {fate: sum(row.values()) for fate, row in compared["objects"].items()}
    assert rows == first["objects"]
    assert found["pictures"] == ["errors.png", "curves.png"]


@pytest.mark.parametrize("kind", MAINS)
def test_nothing_is_overwritten_without_force(det, both, kind, capsys):
    config, paths, _, _ = det
    before = (both / f"{kind}.json").read_bytes()
    args = [config, f"first={paths[0]}", "--out", str(both)]
    assert MAINS[kind](args) == 1
    error = capsys.readouterr().err
    assert f"{kind}.json, {kind}.png" in error and "--force" in error and "--out" in error
    assert (both / f"{kind}.json").read_bytes() == before
    assert MAINS[kind]([*args, "--force"]) == 0
    assert (both / f"{kind}.json").read_bytes() != before
    assert len(record(both, kind)["models"]) == 1
    (both / f"{kind}.json").write_bytes(before)


def test_results_of_a_file(det, tmp_path):
    """As of the checkpoint; and in another order of ``classes``, which mmdet only calls them by."""
    config, paths, file, _ = det
    other = tmp_path / "other.py"
    with open(config, encoding="utf-8") as handle:
        text = handle.read().replace('classes = ("dark", "light")', 'classes = ("light", "dark")')
    other.write_text(text)
    names = [f"model={paths[0]}", f"file={file}", f"swapped={other},{file}"]
    assert confusion.main([config, *names, "--out", str(tmp_path / "out")]) == 0
    found = record(tmp_path / "out", "confusion")
    tables = [one["matrix"] for one in found["models"]]
    assert tables[0] == tables[1] == tables[2]
    assert tables[0][0] != tables[0][1]
    assert found["models"][2]["config"] == str(other)
    assert confusion.main([str(other), paths[0], "--out", str(tmp_path / "swapped")]) == 0
    again = record(tmp_path / "swapped", "confusion")
    assert again["classes"] == found["classes"] == ["dark", "light", "background"]
    assert again["models"][0]["matrix"] == tables[0]


def test_nothing_detected(det, tmp_path):
    config, _, _, _ = det
    (tmp_path / "none.json").write_text("[]")
    args = [config, str(tmp_path / "none.json"), "--out", str(tmp_path)]
    assert [main(args) for main in MAINS.values()] == [0, 0]
    counts = record(tmp_path, "confusion")["models"][0]["matrix"]
    assert np.array(counts)[:2, :2].sum() == 0 and np.array(counts)[:, 2].sum() == 10
    one = record(tmp_path, "errors")["models"][0]
    assert one["AP"] == 0 and one["objects"]["missed"] == 10 and one["cost"]["missed"] is None


# --------------------------------------------------------------------------- refused
def refused(capsys, args, kind="confusion"):
    assert MAINS[kind](args) == 1
    text = capsys.readouterr().err
    assert text.startswith("error: ") and "Traceback" not in text
    return text


def test_other_data_is_refused(det, tiny, tmp_path, capsys):
    config, paths, _, _ = det
    with open(config, encoding="utf-8") as handle:
        text = handle.read()
    ann = tmp_path / "other.json"
    ann.write_bytes((tiny.root / "ann.json").read_bytes())
    (tmp_path / "data.py").write_text(text + f"data['test']['ann_file'] = {str(ann)!r}\n")
    renamed = text.replace('classes = ("dark", "light")', 'classes = ("dark", "black")')
    (tmp_path / "names.py").write_text(renamed)
    out = ["--out", str(tmp_path / "out")]
    error = refused(capsys, [config, paths[0], f"b={tmp_path}/data.py,{paths[1]}", *out], "errors")
    assert str(ann) in error and str(tiny.root / "ann.json") in error and "one data set" in error
    error = refused(capsys, [config, paths[0], f"b={tmp_path}/names.py,{paths[1]}", *out])
    assert "0 with the classes dark, light and b with dark." in error  # mmdet leaves it out
    one = text.replace('classes = ("dark", "light")', 'classes = ("dark",)')
    (tmp_path / "one.py").write_text(one)
    error = refused(capsys, [str(tmp_path / "one.py"), paths[0], *out])
    assert "expected results of the 1 classes of data.test, got class 1" in error
    two = "data['test'] = [data['test'], data['test']]\n"
    (tmp_path / "two.py").write_text(text + two)
    error = refused(capsys, [str(tmp_path / "two.py"), paths[0], *out])
    assert "one data set with boxes" in error and "one of its parts" in error
    assert not (tmp_path / "out" / "confusion.json").exists()


def test_wrong_names_and_files(det, tmp_path, capsys):
    config, paths, _, _ = det
    out = ["--out", str(tmp_path / "out")]
    assert "there is no file nowhere.pth" in refused(capsys, [config, "x=nowhere.pth", *out])
    error = refused(capsys, [config, f"a={paths[0]}", f"a={paths[1]}", *out])
    assert "Two models are called 'a'" in error
    error = refused(capsys, [config, f"a b={paths[0]}", f"a_b={paths[1]}", *out])
    assert "Two models are called 'a b'" in error
    (tmp_path / "file").write_text("")
    error = refused(capsys, [config, paths[0], "--out", str(tmp_path / "file")])
    assert "expected a folder" in error
    (tmp_path / "bad.json").write_text("{")
    error = refused(capsys, [config, f"x={tmp_path}/bad.json", *out], "errors")
    assert error.startswith("error: x: ") and "--format-only" in error
    (tmp_path / "bad.pth").write_bytes(b"PK")
    assert "truncated" in refused(capsys, [config, str(tmp_path / "bad.pth"), *out])


@pytest.mark.parametrize("option", (["--iou-thr", "0"], ["--score-thr", "1.5"], ["--count", "x"]))
def test_wrong_options(option, capsys):
    with pytest.raises(SystemExit):
        confusion.main(["x.py", "y.pth", *option])
    assert option[0] in capsys.readouterr().err


def test_names_of_models(det, tmp_path):
    config, paths, _, _ = det
    (tmp_path / "run").mkdir()
    odd = tmp_path / "run" / "epoch_1,a=b.pth"
    odd.write_bytes(b"")
    found = models.models(config, [f"T=other.py,{paths[0]}", paths[1], str(odd)])
    assert [one.name for one in found] == ["T", "1", "run"]
    assert [one.config for one in found] == ["other.py", config, config]
    assert found[0].checkpoint == paths[0] and found[2].checkpoint == str(odd)


def test_another_order_of_classes(tmp_path):
    """Of a data set whose labels follow ``classes``: compared by name."""
    first, other = (models.Model(name, "x.py", "x.pth") for name in "ab")
    assert results._order(first, ["x", "y", "z"], other, ["z", "x", "y"]) == [2, 0, 1]
    with pytest.raises(models.AnalysisError, match="a with the classes x, y and b with x, z"):
        results._order(first, ["x", "y"], other, ["x", "z"])


# --------------------------------------------------------------------------- kept results
def test_the_digest_is_of_all_that_counts(det, tiny, tmp_path):
    config, paths, _, _ = det
    cfg = load.load_config(config)
    first = results.digest(cfg, "det", paths[0], False)
    assert first == results.digest(load.load_config(config), "det", paths[0], False)
    others = [
        results.digest(load.load_config(config, changes), "det", paths[0], False)
        for changes in (
            {"model.test_cfg.score_thr": 0.1},
            {"data.test.pipeline.1.img_scale": (72, 72)},
        )
    ]
    others += [results.digest(cfg, "det", paths[1], False)]
    others += [results.digest(cfg, "det", paths[0], True)]
    ann = tmp_path / "ann.json"
    ann.write_text("{}")
    for text in ("{}", "{ }"):
        ann.write_text(text)
        changed = load.load_config(config, {"data.test.ann_file": str(ann)})
        others.append(results.digest(changed, "det", paths[0], False))
    assert len({first, *others}) == 7


def test_damaged_results_are_made_again(det, tmp_path, capsys):
    config, paths, _, _ = det
    args = [config, paths[0], "--out", str(tmp_path), "--force"]
    assert confusion.main(args) == 0
    (kept,) = (tmp_path / "results").iterdir()
    whole = (tmp_path / "confusion.json").read_text()
    kept.write_bytes(kept.read_bytes()[:100])
    assert confusion.main(args) == 0
    assert "cannot be read" in capsys.readouterr().out
    assert (tmp_path / "confusion.json").read_text() == whole


# --------------------------------------------------------------------------- other tasks
@pytest.fixture(scope="module")
def segmentation(tmp_path_factory):
    root = tmp_path_factory.mktemp("seg")
    random = np.random.RandomState(0)
    for name in ("images", "labels"):
        (root / name).mkdir()
    for number in range(3):
        label = random.choice([0, 1, 2, 255], (4, 4)).repeat(16, 0).repeat(16, 1)
        cv2.imwrite(str(root / "labels" / f"{number}.png"), label.astype(np.uint8))
        picture = random.randint(0, 255, (64, 64, 3))
        cv2.imwrite(str(root / "images" / f"{number}.png"), picture.astype(np.uint8))
    (root / "plain.py").write_text(
        (SEG + PLAIN).replace("{root}", str(root)).replace("{scope}", "")
    )
    names = ("back", "dark", "light")
    return str(root / "plain.py"), save(str(root / "plain.py"), "seg", root / "a.pth", names)


def test_segmentation(segmentation, tmp_path):
    config, checkpoint = segmentation
    args = [config, checkpoint, "--device", "cpu"]
    assert evaluate([*args, "--json", str(tmp_path / "test.json")]) == 0
    scores = json.loads((tmp_path / "test.json").read_text())["metrics"]
    assert [main([*args, "--out", str(tmp_path)]) for main in MAINS.values()] == [0, 0]
    found = record(tmp_path, "confusion")
    assert found["classes"] == ["back", "dark", "light"] and found["iou_thr"] is None
    labels = [cv2.imread(f"{config[:-8]}labels/{n}.png", cv2.IMREAD_UNCHANGED) for n in range(3)]
    assert np.sum(found["models"][0]["matrix"]) == sum((one != 255).sum() for one in labels)
    regions = record(tmp_path, "errors")["models"][0]["regions"]
    assert list(regions) == ["all", "boundary", "interior"]
    assert regions["all"]["mIoU"] == pytest.approx(scores["mIoU"], abs=1e-4)
    assert regions["all"]["accuracy"] == pytest.approx(scores["aAcc"], abs=1e-4)
    counts = [[row["count"] for row in one["by_class"].values()] for one in regions.values()]
    assert counts[0] == [sum(pair) for pair in zip(*counts[1:])] and min(counts[1]) > 0


def test_tables_follow_the_first_model_s_classes(segmentation, tmp_path):
    config, checkpoint = segmentation
    with open(config, encoding="utf-8") as handle:
        text = handle.read()
    names = 'classes=("back", "dark", "light")'
    assert names in text
    other = tmp_path / "other.py"
    other.write_text(text.replace(names, 'classes=("light", "back", "dark")'))
    args = [config, checkpoint, f"b={other},{checkpoint}", "--out", str(tmp_path)]
    assert confusion.main(args) == 0
    found = record(tmp_path, "confusion")
    first, second = (np.array(one["matrix"]) for one in found["models"])
    order = [2, 0, 1]  # where the other's labels 0, 1, 2 stand among the first's
    assert all(second[order[i], order[j]] == first[i, j] for i in range(3) for j in range(3))
    assert first.tolist() != second.tolist()


def test_classification(tmp_path):
    for number, name in enumerate(("dark", "grey", "light")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for place in range(number + 2):
            picture = np.full((16, 16, 3), 100 * number + place, np.uint8)
            cv2.imwrite(str(tmp_path / "images" / name / f"{place}.png"), picture)
    text = (CLS + PLAIN).replace("{root}", str(tmp_path))
    config = tmp_path / "cls.py"
    config.write_text(text.replace("{classes}", "('dark', 'grey', 'light')"))
    names = ("dark", "grey", "light")
    args = [str(config), save(str(config), "cls", tmp_path / "a.pth", names), "--device", "cpu"]
    assert evaluate([*args, "--json", str(tmp_path / "test.json")]) == 0
    scores = json.loads((tmp_path / "test.json").read_text())["metrics"]
    assert [main([*args, "--out", str(tmp_path)]) for main in MAINS.values()] == [0, 0]
    counts = np.array(record(tmp_path, "confusion")["models"][0]["matrix"])
    assert counts.sum(axis=1).tolist() == [2, 3, 4]
    region = record(tmp_path, "errors")["models"][0]["regions"]["images"]
    assert region["accuracy"] == pytest.approx(scores["accuracy_top-1"] / 100, abs=1e-4)
    assert region["accuracy"] == pytest.approx(np.trace(counts) / 9, abs=1e-6)


def test_shares_by_hand():
    found = errors._shares(np.array([[3, 1, 0], [2, 0, 0], [0, 0, 0]]), ["a", "b", "c"])
    assert found["by_class"] == {
        "a": {"IoU": 0.5, "recall": 0.75, "precision": 0.6, "count": 4},  # 3 / 6, 3 / 4, 3 / 5
        "b": {"IoU": 0.0, "recall": 0.0, "precision": 0.0, "count": 2},
        "c": {"IoU": None, "recall": None, "precision": None, "count": 0},
    }
    assert found["accuracy"] == 0.5 and found["mIoU"] == 0.25


# --------------------------------------------------------------------------- many classes
def test_a_table_of_many_classes_has_the_largest_mistakes():
    counts = np.eye(30, dtype=int) * 5
    counts[3, 4], counts[7, 1] = 2, 5
    lines = confusion.as_table([f"c{n}" for n in range(30)], counts)
    assert [line.split() for line in lines[1:]] == [
        ["c7", "c1", "5", "50.0", "%"],
        ["c3", "c4", "2", "28.6", "%"],
    ]


def test_a_picture_of_many_classes(tmp_path):
    from freekd.analysis.pictures import draw_confusion

    random = np.random.RandomState(0)
    counts = {name: random.randint(0, 9, (81, 81)) for name in ("a", "b")}
    names = [f"class {n}" for n in range(81)]
    path = draw_confusion(confusion.Matrices(names, counts), tmp_path / "x.png")
    assert cv2.imread(str(path)).shape[1] > 2 * 81 * 12


def test_a_folder_that_cannot_be_made_is_said_before_a_model_is_run(det, tmp_path, capsys):
    config, paths, _, _ = det
    (tmp_path / "file").write_text("")
    error = refused(capsys, [config, paths[0], "--out", str(tmp_path / "file" / "sub")])
    assert "--out: expected a folder for the results" in error and "testing" not in error


def test_a_home_folder_after_a_name(tmp_path, monkeypatch):
    """No shell expands the sign there."""
    from freekd.analysis.models import models

    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "k.pth").write_text("")
    assert models("c.py", ["x=~/k.pth"])[0].checkpoint == str(tmp_path / "k.pth")
