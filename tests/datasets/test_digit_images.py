"""The bundled classification task: the same bytes again, disjoint digits, whole folders only."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from freekd.datasets import (
    DIGIT_CLASSES,
    dataset_folder,
    digit_images,
    digits,
    make_digit_images,
)
from freekd.datasets import digit_scenes as scenes

SMALL = {"num_train": 30, "num_val": 20, "seed": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_digit_images(tmp_path_factory.mktemp("digits") / "deep" / "set", **SMALL)


def contents(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_every_picture_is_in_its_class_and_the_splits_share_no_digit(folder):
    from sklearn.datasets import load_digits

    labels, seen = load_digits().target, {}
    for split, count in (("train", 30), ("val", 20)):
        paths = sorted((folder / split).glob("*/*.png"))
        assert len(paths) == count
        for path in paths:
            assert path.parent.name in DIGIT_CLASSES
            assert labels[int(path.stem[:4])] == int(path.parent.name)
            seen.setdefault(split, set()).add(int(path.stem[:4]))
    assert not seen["train"] & seen["val"] and sum(map(len, seen.values())) == 50
    image = pytest.importorskip("PIL.Image")
    picture = np.asarray(image.open(str(paths[0])))
    assert picture.shape == (32, 32, 3) and picture.dtype == np.uint8


def test_the_whole_set_has_every_digit_twice(monkeypatch, tmp_path):
    """And halves of others are of the digit's own split."""
    drawn, others = [], []

    def draw(rng, cells, index, pool, *_):
        drawn.append(index)
        others.append((index in pool, len(pool)))
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr(digit_images, "draw_among_pieces", draw)
    monkeypatch.setattr(dataset_folder, "save_png", lambda picture, path: path.touch())
    out = make_digit_images(tmp_path / "all")
    assert sorted(drawn) == sorted([*range(1797), *range(1797)])
    assert set(others) == {(True, 1438), (True, 359)}
    assert [len(list((out / s).glob("*/*"))) for s in ("train", "val")] == [2876, 718]


def test_pieces_lie_under_the_digit_and_angles_are_kept():
    """Oracle: with no pieces and no turn, the digit as the other tasks draw it."""
    cells, labels, photos = digits.load_sources()
    place = dict(photos=photos, size=32, digit_sizes=(20, 20), max_angle=0.0)
    pool = np.arange(1797)
    bare = scenes.draw_among_pieces(np.random.RandomState(5), cells, 7, pool, max_pieces=0, **place)
    rng = np.random.RandomState(5)
    picture = scenes.background(rng, photos, 32)
    rng.randint(1), rng.uniform(20, 20), rng.uniform(0, 0)
    alpha = scenes.digit_alpha(cells[7], 20, 0.0)
    top, left = (rng.randint(32 - side + 1) for side in alpha.shape)
    ink, strength = scenes.ink_colour(rng), rng.uniform(0.9, 1.0)
    whole = np.zeros((32, 32, 1))
    whole[top : top + alpha.shape[0], left : left + alpha.shape[1], 0] = alpha * strength
    expected = np.rint(picture * (1 - whole) + ink * whole).astype(np.uint8)
    assert np.array_equal(bare, expected)
    many = scenes.draw_among_pieces(np.random.RandomState(6), cells, 7, pool, max_pieces=9, **place)
    assert many.shape == bare.shape and many.dtype == np.uint8


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
        (dict(num_train=0), "num_train must be from 1 to 2876, got 0"),
        (dict(num_val=719), "num_val must be from 1 to 718, got 719"),
        (dict(views=0), "views must be at least 1, got 0"),
        (dict(max_pieces=-1), "max_pieces must be at least 0, got -1"),
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
