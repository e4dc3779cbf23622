"""The bundled segmentation task: labels of the pixels, the same bytes again, whole folders only."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
image = pytest.importorskip("PIL.Image")

from freekd.datasets import DIGIT_CLASSES, MAP_CLASSES, make_digit_maps
from freekd.datasets.digit_maps import label_map
from freekd.datasets.digit_scenes import PastedDigit, draw_scene
from freekd.datasets.digits import load_sources, split_digits

SMALL = {"num_train": 4, "num_val": 3, "seed": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_digit_maps(tmp_path_factory.mktemp("digits") / "deep" / "set", **SMALL)


def contents(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def pixels(path):
    return np.asarray(image.open(str(path)))


def test_a_label_is_one_more_than_its_digit():
    one, two = np.zeros((2, 3), bool), np.zeros((2, 3), bool)
    one[0, :2], two[1, 2] = True, True
    found = label_map([PastedDigit(0, 5, one[:, :2]), PastedDigit(9, 6, two[:, 1:])], 2)
    assert found.tolist() == [[1, 1], [0, 10]] and found.dtype == np.uint8
    assert MAP_CLASSES[0] == "background" and MAP_CLASSES[1:] == DIGIT_CLASSES


def test_pictures_and_maps_are_those_of_the_scenes(folder):
    """Oracle: the scene drawn again, its masks as they are."""
    cells, labels, photos = load_sources()
    for number, (split, count) in enumerate((("train", 4), ("val", 3))):
        pool = split_digits(labels, 3)[split]
        names = [sorted(p.name for p in (folder / k / split).iterdir()) for k in ("img", "ann")]
        assert names[0] == names[1] == [f"{i:06d}.png" for i in range(count)]
        for index in range(count):
            rng = np.random.RandomState([3, number, index])
            picture, digits = draw_scene(rng, cells, labels, pool, photos, 48, (22, 32), 2)
            found = pixels(folder / "ann" / split / f"{index:06d}.png")
            assert found.shape == (48, 48) and found.dtype == np.uint8
            assert np.array_equal(pixels(folder / "img" / split / f"{index:06d}.png"), picture)
            for digit in digits:
                assert (found[digit.mask] == digit.label + 1).all()
            seen = np.any([digit.mask for digit in digits], axis=0)
            assert (found[~seen] == 0).all() and seen.any()
            assert {digit.source_index for digit in digits} <= set(pool.tolist())


def test_the_host_reads_it(folder):
    """Its classes and maps, by the config's own data set."""
    compat = pytest.importorskip("freekd.compat")
    compat.apply()
    from freekd.config.load import load_config
    from freekd.engine import datasets

    root = Path(__file__).resolve().parents[2]
    cfg = load_config(str(root / "configs/baseline/fpn_r18_digits_seg.py"))
    assert tuple(cfg.data.train.classes) == MAP_CLASSES
    cfg.data.train.data_root = str(folder)
    dataset = datasets.build_dataset(cfg.data.train, "seg")
    assert len(dataset) == 4
    labels = dataset[1]["gt_semantic_seg"].data.numpy()[0]
    assert np.array_equal(labels, pixels(folder / "ann" / "train" / "000001.png"))


def test_the_same_seed_gives_the_same_bytes_and_a_longer_split_begins_alike(folder, tmp_path):
    assert contents(make_digit_maps(tmp_path / "again", **SMALL)) == contents(folder)
    other = contents(make_digit_maps(tmp_path / "other", **{**SMALL, "seed": 4}))
    assert other["img/train/000000.png"] != contents(folder)["img/train/000000.png"]
    more = contents(make_digit_maps(tmp_path / "more", **{**SMALL, "num_train": 5}))
    assert all(more[k] == v for k, v in contents(folder).items() if k.endswith(".png"))


def test_a_folder_is_left_alone_or_refused(folder):
    before = contents(folder)
    marker = json.loads((folder / "dataset.json").read_text())
    assert marker["parameters"]["task"] == "segmentation"
    assert make_digit_maps(folder, **SMALL) == folder and contents(folder) == before
    with pytest.raises(FileExistsError, match="size is 48 there, 80 is asked for.*--force"):
        make_digit_maps(folder, **SMALL, size=80)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(num_train=0), "num_train must be at least 1, got 0"),
        (dict(max_digits=0), "max_digits must be at least 1, got 0"),
        (dict(size=40), "size 40 is too small .* at least 46"),
        (dict(seed=-1), "seed must be 0 to"),
    ],
)
def test_wrong_parameters(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        make_digit_maps(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_the_command_line(tmp_path):
    root = Path(__file__).resolve().parents[2]
    out = tmp_path / "set"
    command = [sys.executable, "tools/make_digits.py", "--task", "seg", "--out", str(out)]
    command += ["--num-train", "2", "--num-val", "1", "--seed", "1"]
    done = subprocess.run(command, cwd=str(root), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and f"digits data set: {out}" in done.stdout
    assert len(list((out / "ann" / "train").glob("*.png"))) == 2
