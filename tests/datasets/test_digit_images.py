"""The bundled classification task: the same bytes again, disjoint digits, whole folders only."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from freekd.datasets import DIGIT_CLASSES, digit_images, make_digit_images

SMALL = {"num_train": 30, "num_val": 20, "seed": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_digit_images(tmp_path_factory.mktemp("digits") / "deep" / "set", **SMALL)


def contents(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_every_picture_is_of_another_source_digit_and_in_its_class(folder):
    from sklearn.datasets import load_digits

    labels, seen = load_digits().target, []
    for split, count in (("train", 30), ("val", 20)):
        paths = sorted((folder / split).glob("*/*.png"))
        assert len(paths) == count
        for path in paths:
            assert path.parent.name in DIGIT_CLASSES
            assert labels[int(path.stem)] == int(path.parent.name)
            seen.append(int(path.stem))
    assert len(set(seen)) == 50
    image = pytest.importorskip("PIL.Image")
    picture = np.asarray(image.open(str(paths[0])))
    assert picture.shape == (32, 32, 3) and picture.dtype == np.uint8


def test_the_whole_set_has_every_digit_once(monkeypatch, tmp_path):
    drawn = []

    def draw(rng, cells, labels, one, *_):
        drawn.extend(one.tolist())
        return np.zeros((1, 1, 3), np.uint8), []

    monkeypatch.setattr(digit_images, "draw_scene", draw)
    monkeypatch.setattr(digit_images, "save_png", lambda picture, path: path.touch())
    out = make_digit_images(tmp_path / "all")
    assert sorted(drawn) == list(range(1797))
    assert [len(list((out / s).glob("*/*"))) for s in ("train", "val")] == [1438, 359]


def test_the_same_seed_gives_the_same_bytes_and_another_others(folder, tmp_path):
    assert contents(make_digit_images(tmp_path / "again", **SMALL)) == contents(folder)
    other = contents(make_digit_images(tmp_path / "other", **{**SMALL, "seed": 4}))
    assert other.keys() != contents(folder).keys()
    more = contents(make_digit_images(tmp_path / "more", **{**SMALL, "num_train": 31}))
    assert all(more[k] == v for k, v in contents(folder).items() if k.endswith(".png"))


def test_a_folder_is_left_alone_or_refused(folder, tmp_path):
    before = contents(folder)
    marker = json.loads((folder / "dataset.json").read_text())
    assert marker["parameters"]["num_train"] == 30
    assert make_digit_images(folder, **SMALL) == folder and contents(folder) == before
    with pytest.raises(FileExistsError, match="size is 32 there, 40 is asked for.*--force"):
        make_digit_images(folder, **SMALL, size=40)
    (tmp_path / "mine").write_text("x")
    with pytest.raises(FileExistsError, match="not a generated data set"):
        make_digit_images(tmp_path, **SMALL)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(num_train=0), "num_train must be from 1 to 1438, got 0"),
        (dict(num_val=360), "num_val must be from 1 to 359, got 360"),
        (dict(size=20), "size 20 is too small .* at least 32"),
        (dict(digit_sizes=(4, 9)), "digit_sizes must be 8 <= low <= high, got 4, 9"),
        (dict(seed=-1), "seed must be 0 to"),
    ],
)
def test_wrong_parameters(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        make_digit_images(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_the_command_line(tmp_path):
    root = Path(__file__).resolve().parents[2]
    out = tmp_path / "set"
    command = [sys.executable, "tools/make_digits.py", "--task", "cls", "--out", str(out)]
    command += ["--num-train", "12", "--num-val", "10", "--seed", "1"]
    done = subprocess.run(command, cwd=str(root), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and f"digits data set: {out}" in done.stdout
    assert len(list((out / "val").glob("*/*.png"))) == 10
