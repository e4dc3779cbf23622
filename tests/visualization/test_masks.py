"""The mask pictures: each tile in its place, one colour for one mean mask."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from matplotlib.image import imread

from freekd.visualization import draw_prompt_mask_levels, draw_prompt_masks

CELL = 64


def image():
    return np.full((32, 32, 3), 128, dtype=np.uint8)


def cells(picture, left, top, gap, rows, columns):
    """(rows, columns, CELL, CELL, 3), the picture cut into its cells."""
    step = CELL + gap
    return np.array(
        [
            [picture[top + r * step :, left + c * step :][:CELL, :CELL, :3] for c in range(columns)]
            for r in range(rows)
        ]
    )


def tile(cell, row, column, parts):
    """Colour at the centre of a tile of a cell divided into ``parts`` x ``parts``."""
    side = CELL // parts
    return cell[row * side + side // 2, column * side + side // 2]


def test_each_mask_value_is_at_its_place(tmp_path):
    first = np.array([[0.0, 0.25], [0.5, 1.0]])
    masks = {
        "LL1": np.stack([first, 1 - first]),
        "LH1": np.full((2, 2, 2), 0.5),
        "HL1": np.stack([first, first]),
        "HH1": np.full((2, 2, 2), 1.0),
    }
    out = draw_prompt_masks(image(), masks, tmp_path / "a.png", cell=CELL)
    picture = imread(str(out))
    assert picture.shape[:2] == (34 + 4 * 64 + 3 * 12 + 62, 100 + 4 * 64 + 3 * 12 + 12)
    cut = cells(picture, 100, 34, 12, 4, 4)
    assert np.allclose(cut[:, 0], 128 / 255, atol=0.01)  # the image itself
    colors = {
        value: tile(cut[0, 1], *at, 2)
        for value, at in {0.0: (0, 0), 0.25: (0, 1), 0.5: (1, 0), 1.0: (1, 1)}.items()
    }
    listed = np.array(list(colors.values()))
    apart = np.abs(listed[:, None] - listed[None]).sum(-1) + np.eye(4)
    assert apart.min() > 0.15  # four values, four colours
    same = {"atol": 0.01}
    assert np.allclose(tile(cut[0, 2], 0, 0, 2), colors[1.0], **same)  # 1 - 0
    assert np.allclose(cut[0, 3], colors[0.5], **same)  # m + (1 - m) = 1, half of T = 2
    assert np.allclose(cut[1, 1:], colors[0.5], **same)
    assert np.allclose(cut[2, 1], cut[2, 3], **same)  # equal masks: the sum has the same mean
    assert np.allclose(cut[3, 1:], colors[1.0], **same)


def test_rows_may_have_other_sizes_and_t_may_be_one(tmp_path):
    masks = {"LL2": np.zeros((1, 1, 1)), "level1": np.ones((1, 4, 8)), "x": np.zeros((1, 3, 3))}
    out = draw_prompt_masks(image(), masks, tmp_path / "a.png", title="P3", cell=CELL)
    assert imread(str(out)).shape[:2] == (60 + 3 * 64 + 2 * 12 + 62, 100 + 3 * 64 + 2 * 12 + 12)


def test_levels(tmp_path):
    top = np.zeros((2, 2, 2))
    top[:, 0, 1] = 1.0
    levels = {
        "P3": {"LL1": top, "HH1": np.full((2, 2, 2), 0.5)},
        "P4": {"LL1": np.ones((2, 1, 1)), "HH1": np.stack([np.ones((1, 1)), np.zeros((1, 1))])},
    }
    out = draw_prompt_mask_levels(image(), levels, tmp_path / "a.png", cell=CELL)
    picture = imread(str(out))
    assert picture.shape[:2] == (34 + 2 * 64 + 6 + 62, 44 + 2 * 64 + 6 + 12)
    cut = cells(picture, 44, 34, 6, 2, 2)
    high, low = tile(cut[0, 0], 0, 1, 2), tile(cut[0, 0], 1, 0, 2)
    assert np.abs(high - low).sum() > 0.3
    assert np.allclose(cut[1, 0], high, atol=0.01)
    assert np.allclose(cut[0, 1], cut[1, 1], atol=0.01)


@pytest.mark.parametrize(
    "masks, message",
    [
        ({}, "nothing to draw"),
        ({"LL1": np.zeros((2, 2))}, r"LL1: expected masks \(T, h, w\).*got \(2, 2\)"),
        ({"LL1": np.zeros((2, 2, 2)), "LH1": np.zeros((3, 2, 2))}, r"LH1: .*same T.*\(3, 2, 2\)"),
        ({"LL1": np.full((1, 2, 2), -3.0)}, "0 to 1 .after the sigmoid., got -3 to -3"),
        ({"LL1": np.full((1, 2, 2), np.nan)}, "0 to 1"),
    ],
)
def test_refused_masks(tmp_path, masks, message):
    with pytest.raises(ValueError, match=message):
        draw_prompt_masks(image(), masks, tmp_path / "a.png")


def test_refused_levels(tmp_path):
    one, two = np.zeros((1, 2, 2)), np.zeros((2, 2, 2))
    for levels, message in [
        ({}, "nothing to draw"),
        ({"P3": {"LL1": one}, "P4": {"LH1": one}}, r"entry 1 has \['LH1'\]"),
        ({"P3": {"LL1": one}, "P4": {"LL1": two}}, r"same number of prompts, got \[1, 2\]"),
        ({"P3": {"LL1": one + 2}}, "P3, LL1: masks must lie in 0 to 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            draw_prompt_mask_levels(image(), levels, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
