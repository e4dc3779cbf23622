"""The scenes: the same bytes again, three disjoint splits, letters that are no digits."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from freekd.datasets import SCENE_CLASSES, make_scenes
from freekd.datasets.letters import FONTS, LETTERS, load_letters
from freekd.datasets.scenes import saturated_ink

SMALL = dict(num_train=12, num_val=6, num_tune=6, seed=3)
SPLITS = ("train", "val", "tune")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_scenes(tmp_path_factory.mktemp("scenes") / "set", **SMALL)


def annotations(folder, split):
    return json.loads((folder / "annotations" / f"{split}.json").read_text())


def test_letters_are_in_the_form_of_digits():
    cells, letters, fonts = load_letters()
    assert cells.shape == (len(LETTERS) * len(FONTS), 8, 8)
    assert cells.min() == 0 and (cells.reshape(len(cells), -1).max(1) == 16).all()
    assert np.array_equal(cells, np.rint(cells))
    assert np.bincount(letters).tolist() == [len(FONTS)] * len(LETTERS)
    assert np.bincount(fonts).tolist() == [len(LETTERS)] * len(FONTS)


def test_every_picture_has_a_digit_and_letters_outnumber_them(folder):
    for split in SPLITS:
        coco = annotations(folder, split)
        assert [one["name"] for one in coco["categories"]] == list(SCENE_CLASSES)
        for image in coco["images"]:
            labels = [
                one["category_id"] for one in coco["annotations"] if one["image_id"] == image["id"]
            ]
            digits = sum(label < 10 for label in labels)
            assert 1 <= digits <= 3 and len(labels) - digits <= 7


def test_the_sizes_are_many_and_small(folder):
    """From 12 to 36 pixels of a cell, of which the ink fills at most the turned square."""
    sides = [max(one["bbox"][2:]) for s in SPLITS for one in annotations(folder, s)["annotations"]]
    assert min(sides) < 14 and 24 < max(sides) < 1.3 * 36 + 4


def test_train_shares_no_digit_and_no_font_with_the_others(folder):
    def used(split, letters):
        return {
            one["digit_index"] % (len(FONTS) if letters else 10**6)
            for one in annotations(folder, split)["annotations"]
            if (one["category_id"] >= 10) == letters
        }

    for letters in (False, True):
        train = used("train", letters)
        assert train and not train & (used("val", letters) | used("tune", letters))


def test_val_and_tune_are_other_pictures(folder):
    val, tune = ((folder / split / "000000.png").read_bytes() for split in ("val", "tune"))
    assert val != tune


def test_the_same_seed_gives_the_same_bytes_and_a_longer_split_starts_alike(folder, tmp_path):
    again = make_scenes(tmp_path / "again", **{**SMALL, "num_train": 13})
    for split in SPLITS:
        for path in sorted((folder / split).glob("*.png")):
            assert path.read_bytes() == (again / split / path.name).read_bytes()
    other = make_scenes(tmp_path / "other", **{**SMALL, "seed": 4})
    assert (other / "val/000000.png").read_bytes() != (folder / "val/000000.png").read_bytes()


def test_coloured_letters_are_the_only_colour():
    """Digits are pale (saturation up to .3), such letters are not (from .85)."""
    for seed in range(50):
        ink = saturated_ink(np.random.RandomState(seed))
        assert 1 - ink.min() / ink.max() >= 0.85 and ink.max() >= 0.7 * 255


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(letters=(3, 2)), "letters of 0 <= fewest <= most"),
        (dict(letter_ink="red"), "letter_ink"),
        (dict(num_tune=0), "num_tune"),
        (dict(size=40), "size"),
    ],
)
def test_bad_parameters(tmp_path, change, words):
    with pytest.raises(ValueError, match=words):
        make_scenes(tmp_path / "x", **{**SMALL, **change})
    assert not (tmp_path / "x").exists()


def test_command_line(tmp_path):
    def call(*args):
        command = [sys.executable, str(Path(__file__).parents[2] / "tools/make_digits.py"), *args]
        return subprocess.run(command, capture_output=True, text=True)

    done = call("--scenes", "--out", str(tmp_path / "s"), "--num-train", "2", "--num-val", "1")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "s" / "train").glob("*.png"))) == 2
    wrong = call("--scenes", "--task", "cls")
    assert wrong.returncode == 2 and "--scenes are for detection" in wrong.stderr
    wrong = call("--letter-ink", "pale")
    assert wrong.returncode == 2 and "--letter-ink" in wrong.stderr
