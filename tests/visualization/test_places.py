"""The picture of where losses look: a weight's colour is at its place, relative to the mean."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from matplotlib.image import imread

from freekd.visualization import PlacesRow, draw_places
from freekd.visualization.places import mean_map

CELL = 64
IMAGE = np.full((32, 32, 3), 128, dtype=np.uint8)


def drawn(tmp_path, **weights):
    """(columns, CELL, CELL, 3) of the weights of one image."""
    out = draw_places([PlacesRow(IMAGE, weights, [])], tmp_path / "a.png", cell=CELL)
    picture = imread(str(out))
    lefts = [12 + (CELL + 10) * (1 + i) for i in range(len(weights))]
    return np.array([picture[46:, left:][:CELL, :CELL, :3] for left in lefts])


def test_maps_of_any_size_cover_the_image_and_count_alike():
    coarse, fine = np.array([[1.0, 3.0]]), np.arange(16.0).reshape(4, 4)
    found = mean_map([coarse, 100 * fine], (8, 8))
    expected = (np.kron(coarse / 2, np.ones((8, 4))) + np.kron(fine / 7.5, np.ones((2, 2)))) / 2
    assert np.allclose(found, expected)
    assert np.allclose(mean_map([np.zeros((2, 2))], (4, 4)), 1)


def test_a_place_has_the_colour_of_its_weight(tmp_path):
    one = [np.array([[0.5, 1.5], [1.0, 1.0]])]
    left, mirrored, even = drawn(tmp_path, a=one, b=[one[0][:, ::-1]], c=[np.ones((3, 5))])
    assert np.allclose(left[16, 16], mirrored[16, 48])
    assert np.allclose(left[16, 48], mirrored[16, 16])
    assert np.allclose(left[48, 16], even[16, 16]) and np.allclose(even[8, 8], even[56, 56])
    assert left[16, 16, 2] > left[16, 16, 0]  # below the mean: blue
    assert left[16, 48, 0] > left[16, 48, 2]  # above it: red


def test_boxes_are_drawn_in_each_column(tmp_path):
    rows = [PlacesRow(IMAGE, {"a": [np.ones((2, 2))]}, [[8, 8, 24, 24]])]
    picture = imread(str(draw_places(rows, tmp_path / "a.png", cell=CELL)))[..., :3]
    for left in (12, 12 + CELL + 10):
        edge, middle = picture[46 + 32, left + 16], picture[46 + 32, left + 32]
        assert edge.max() < 0.5 < middle.max()


@pytest.mark.parametrize("weights", [{}, {"a": []}])
def test_nothing_to_draw_is_said(tmp_path, weights):
    with pytest.raises(ValueError, match="nothing to draw|at least one map"):
        draw_places([PlacesRow(IMAGE, weights)], tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
