"""The bundled digits data set: determinism, honest annotations, whole folders only."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
coco_mask = pytest.importorskip("pycocotools.mask")

from freekd.datasets import DIGIT_CLASSES, digits, make_digits
from freekd.datasets.digit_scenes import background, digit_alpha, ink_colour

SMALL = {"num_train": 6, "num_val": 4, "seed": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_digits(tmp_path_factory.mktemp("digits") / "deep" / "set", **SMALL)


def contents(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def annotations(folder, split):
    return json.loads((folder / "annotations" / f"{split}.json").read_text())


def read_png(path):
    image = pytest.importorskip("PIL.Image")
    return np.asarray(image.open(str(path)))


def test_layout(folder):
    expected = {f"train/{i:06d}.png" for i in range(6)} | {f"val/{i:06d}.png" for i in range(4)}
    expected |= {"annotations/train.json", "annotations/val.json", "dataset.json"}
    assert set(contents(folder)) == expected
    picture = read_png(folder / "train" / "000000.png")
    assert picture.shape == (128, 128, 3) and picture.dtype == np.uint8


def test_same_seed_gives_the_same_bytes_and_another_seed_others(folder, tmp_path):
    again = contents(make_digits(tmp_path / "again", **SMALL))
    assert again == contents(folder)
    other = contents(make_digits(tmp_path / "other", **{**SMALL, "seed": 1}))
    assert set(other) == set(again)
    assert all(other[name] != again[name] for name in again)


def test_a_longer_split_starts_with_the_shorter_one(folder, tmp_path):
    longer = make_digits(tmp_path / "longer", num_train=8, num_val=4, seed=0)
    for i in range(6):
        name = f"train/{i:06d}.png"
        assert (longer / name).read_bytes() == (folder / name).read_bytes()
    assert annotations(longer, "val")["annotations"] == annotations(folder, "val")["annotations"]


@pytest.mark.parametrize("seed", [0, 7])
def test_splits_share_no_digit_and_have_every_class(seed):
    from sklearn.datasets import load_digits

    labels = load_digits().target
    parts = digits.split_digits(labels, seed)
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(1797))
    for label in range(10):
        total = int((labels == label).sum())
        # round(0.8 * total), e.g. 178 zeros: 142 for training, 36 for validation
        assert int((labels[parts["train"]] == label).sum()) == round(0.8 * total)


def test_pasted_digits_come_from_their_own_split(folder):
    from sklearn.datasets import load_digits

    labels = load_digits().target
    parts = digits.split_digits(labels, 0)
    used = {}
    for split in ("train", "val"):
        records = annotations(folder, split)["annotations"]
        used[split] = {record["digit_index"] for record in records}
        assert used[split] <= set(parts[split].tolist())
        assert all(record["category_id"] == labels[record["digit_index"]] for record in records)
    assert not used["train"] & used["val"]


def test_boxes_and_areas_are_those_of_the_masks(folder):
    for split in ("train", "val"):
        for record in annotations(folder, split)["annotations"]:
            assert isinstance(record["segmentation"]["counts"], str)
            mask = coco_mask.decode(record["segmentation"])
            rows, cols = np.nonzero(mask)
            x, y, w, h = record["bbox"]
            assert (x, y) == (cols.min(), rows.min())
            assert (x + w, y + h) == (cols.max() + 1, rows.max() + 1)
            assert record["area"] == mask.sum() and record["iscrowd"] == 0
            assert 0.15 * w * h < record["area"] < w * h


def test_masks_of_a_picture_do_not_overlap_and_hold_the_ink(folder):
    data = annotations(folder, "train")
    for image in data["images"]:
        mine = [a for a in data["annotations"] if a["image_id"] == image["id"]]
        assert 1 <= len(mine) <= 3
        total = sum(coco_mask.decode(a["segmentation"]).astype(int) for a in mine)
        assert total.max() == 1


def test_pycocotools_reads_it_and_finds_perfect_boxes_perfect(folder, capsys):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    coco = COCO(str(folder / "annotations" / "val.json"))
    assert tuple(c["name"] for c in coco.loadCats(sorted(coco.getCatIds()))) == DIGIT_CLASSES
    results = [
        {key: a[key] for key in ("image_id", "category_id", "bbox", "segmentation")}
        for a in coco.dataset["annotations"]
    ]
    for result in results:
        result["score"] = 1.0
    for kind in ("bbox", "segm"):
        evaluation = COCOeval(coco, coco.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == pytest.approx(1.0)


def test_a_digit_keeps_its_size_and_turns(folder):
    cell = np.zeros((8, 8))
    cell[:, 3:5] = 16.0  # an upright bar, a quarter as wide as high
    upright = digit_alpha(cell, side=40, angle=0) >= 0.5
    assert upright.any(1).sum() == pytest.approx(40, abs=3)
    assert upright.any(0).sum() == pytest.approx(10, abs=3)
    lying = digit_alpha(cell, side=40, angle=90) >= 0.5
    assert np.array_equal(lying, np.rot90(upright))
    leaning = digit_alpha(cell, side=40, angle=25) >= 0.5
    # counter-clockwise: the top of the bar goes left
    assert np.nonzero(leaning[2])[0].mean() < np.nonzero(leaning[-3])[0].mean()


def test_every_ink_is_brighter_than_nine_tenths_of_every_background():
    from sklearn.datasets import load_sample_images

    luma = np.array([0.299, 0.587, 0.114])
    photos = load_sample_images().images
    for seed in range(40):
        rng = np.random.RandomState(seed)
        ink = ink_colour(rng)
        assert ink @ luma >= 165 and ink.max() <= 255
        picture = background(rng, photos, 64)
        assert picture.shape == (64, 64, 3) and picture.min() >= 0
        assert np.percentile(picture @ luma, 90) <= 115 + 1e-9


def test_an_existing_set_is_left_alone(folder, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    monkeypatch.setattr(digits, "draw_scene", None)  # calling it would raise
    assert make_digits(folder, **SMALL) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


class Stop(BaseException):
    """Stands for Ctrl-C: no Exception."""


def test_interrupted_generation_leaves_nothing(tmp_path):
    def stop(done, total):
        assert total == 10
        if done == 8:
            raise Stop

    with pytest.raises(Stop):
        make_digits(tmp_path / "set", progress=stop, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_interrupted_replacement_keeps_the_old_set(tmp_path):
    out = make_digits(tmp_path / "set", num_train=2, num_val=1)
    before = contents(out)

    def stop(done, total):
        raise Stop

    with pytest.raises(Stop):
        make_digits(out, force=True, progress=stop, **SMALL)
    assert contents(out) == before and list(tmp_path.iterdir()) == [out]


def test_other_parameters_are_refused_and_force_replaces(tmp_path, folder):
    out = make_digits(tmp_path / "set", num_train=2, num_val=1, seed=5)
    with pytest.raises(FileExistsError) as caught:
        make_digits(out, **SMALL)
    message = str(caught.value)
    assert "seed is 5 there, 0 is asked for" in message
    assert "num_train is 2 there, 6 is asked for" in message
    assert "--force" in message and "size" not in message
    make_digits(out, force=True, **SMALL)
    assert contents(out) == contents(folder) and list(tmp_path.iterdir()) == [out]


def test_a_damaged_set_is_noticed_and_mended_by_force(tmp_path, folder):
    out = make_digits(tmp_path / "set", **SMALL)
    (out / "train" / "000003.png").unlink()
    with pytest.raises(FileExistsError, match=r"expected 6 files train/\*\.png, found 5.*--force"):
        make_digits(out, **SMALL)
    make_digits(out, force=True, **SMALL)
    assert contents(out) == contents(folder)


@pytest.mark.parametrize("marker", [None, "not json", "[1, 2]"])
def test_a_foreign_folder_is_never_replaced(tmp_path, marker):
    (tmp_path / "precious.txt").write_text("keep me")
    if marker is not None:
        (tmp_path / "dataset.json").write_text(marker)
    with pytest.raises(FileExistsError, match="not a generated data set"):
        make_digits(tmp_path, force=True, **SMALL)
    assert (tmp_path / "precious.txt").read_text() == "keep me"


def test_another_process_that_was_faster_wins(tmp_path):
    out = tmp_path / "set"

    def other_process(done, total):
        if done == 5:
            make_digits(out, **SMALL)

    make_digits(out, progress=other_process, **SMALL)
    assert list(tmp_path.iterdir()) == [out]
    assert len(list((out / "train").iterdir())) == 6


@pytest.mark.parametrize(
    "change, message",
    [
        ({"num_train": 0}, "num_train must be at least 1, got 0"),
        ({"max_digits": 0}, "max_digits must be at least 1, got 0"),
        ({"seed": -1}, r"seed must be 0 to 2\*\*32 - 1, got -1"),
        ({"digit_sizes": (40, 30)}, "8 <= low <= high, got 40, 30"),
        ({"size": 64}, "size 64 is too small for rotated digits of 56 pixels.*at least 77"),
    ],
)
def test_bad_parameters(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        make_digits(tmp_path / "set", **{**SMALL, **change})
    assert list(tmp_path.iterdir()) == []


def test_smallest_allowed_size_works(tmp_path):
    make_digits(tmp_path / "set", num_train=5, num_val=1, size=77)


def test_missing_scikit_learn_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'freekd\[data\]'"):
        make_digits(tmp_path / "set", **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_importing_is_light():
    code = (
        "import sys, freekd.datasets; "
        "heavy = {'sklearn', 'scipy', 'torch', 'mmcv', 'mmdet', 'PIL'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_command_line(tmp_path, folder):
    root = Path(__file__).parents[2]
    command = [sys.executable, "tools/make_digits.py", "--out", str(tmp_path / "set")]
    command += ["--num-train", "6", "--num-val", "4"]
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=env, stdout=subprocess.PIPE, check=True)
    assert b"10/10" in done.stdout
    assert contents(tmp_path / "set") == contents(folder)
    refused = subprocess.run([*command, "--seed", "3"], cwd=root, env=env, stderr=subprocess.PIPE)
    assert refused.returncode == 2
    assert refused.stderr.startswith(b"error: ") and b"seed is 0 there, 3" in refused.stderr
