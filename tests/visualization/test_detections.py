"""The detection picture: what counts as right, the grid, refused input."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from matplotlib.image import imread

from freekd.visualization import DetectionRow, draw_detections
from freekd.visualization.detections import MISSED, RIGHT, WRONG, match_detections

NAMES = [str(i) for i in range(10)]
CELL = 128


def image(value=255):
    return np.full((64, 64, 3), value, dtype=np.uint8)


def truth():
    return np.array([[8.0, 16, 24, 48], [36, 20, 56, 52]]), np.array([3, 7])


def rgb(color):
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255.0


def has_color(picture, color):
    return bool((np.abs(picture[..., :3] - rgb(color)).max(axis=-1) < 0.02).any())


def cell_of(picture, row, column):
    top, left = 34 + row * (CELL + 10), 12 + column * (CELL + 10)
    return picture[top : top + CELL, left : left + CELL]


def test_each_object_is_taken_once_by_the_best_score_of_its_class():
    true_boxes = np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    boxes = np.array(
        [
            [0.0, 0, 10, 10, 0.5],  # as good, but later: its object is taken
            [0, 0, 10, 9, 0.9],  # IoU 90 / 100
            [20, 20, 30, 30, 0.8],  # exact, but of another class
            [20, 20, 30, 24, 0.7],  # IoU 40 / 100 = 0.4, below 0.5
        ]
    )
    right, found = match_detections(boxes, np.array([1, 1, 5, 2]), true_boxes, np.array([1, 2]))
    assert right.tolist() == [False, True, False, False]
    assert found.tolist() == [True, False]
    right, found = match_detections(
        boxes, np.array([1, 1, 5, 2]), true_boxes, np.array([1, 2]), 0.4
    )
    assert right.tolist() == [False, True, False, True] and found.all()


def test_grid_size_and_colours(tmp_path):
    boxes, labels = truth()
    perfect = (np.c_[boxes, [0.9, 0.8]], labels)
    wrong_class = (np.c_[boxes, [0.9, 0.8]], np.array([3, 1]))
    nothing = (np.zeros((0, 5)), np.zeros(0, dtype=int))
    models = {"perfect": perfect, "half": wrong_class, "blind": nothing}
    rows = [DetectionRow(image(), models, truth())] * 2
    out = draw_detections(rows, tmp_path / "deep" / "picture.png", NAMES, cell=CELL)
    picture = imread(str(out))
    # 4 columns and 2 rows of 128 with gaps of 10; margins 12 + 12 and 34 + 44
    assert picture.shape[:2] == (34 + 2 * 128 + 10 + 44, 12 + 4 * 128 + 3 * 10 + 12)
    expected = [
        (True, False, False),
        (True, False, False),
        (True, True, True),
        (False, False, True),
    ]
    for column, colors in enumerate(expected):
        for row in range(2):
            cell = cell_of(picture, row, column)
            assert tuple(has_color(cell, c) for c in (RIGHT, WRONG, MISSED)) == colors
    assert [path.name for path in out.parent.iterdir()] == ["picture.png"]


def test_of_boxes_that_coincide_only_the_best_is_drawn(tmp_path):
    boxes, labels = truth()
    # the same two boxes again, of other classes, with lower scores: nothing red is left
    found = np.r_[np.c_[boxes, [0.9, 0.8]], np.c_[boxes, [0.7, 0.6]]], np.r_[labels, [1, 2]]
    out = draw_detections([(image(), {"a": found}, truth())], tmp_path / "a.png", NAMES, cell=CELL)
    cell = cell_of(imread(str(out)), 0, 1)
    assert has_color(cell, RIGHT) and not has_color(cell, WRONG)


def test_low_scores_are_left_out(tmp_path):
    boxes, labels = truth()
    row = (image(), {"weak": (np.c_[boxes, [0.29, 0.1]], labels)}, truth())
    picture = imread(str(draw_detections([row], tmp_path / "a.png", NAMES, cell=CELL)))
    assert not has_color(cell_of(picture, 0, 1), RIGHT)
    lower = draw_detections([row], tmp_path / "b.png", NAMES, score_thr=0.05, cell=CELL)
    assert has_color(cell_of(imread(str(lower)), 0, 1), RIGHT)


def test_without_ground_truth_there_is_one_column_per_model(tmp_path):
    boxes, labels = truth()
    row = DetectionRow(image(), {"a": (np.c_[boxes, [0.9, 0.8]], labels)})
    picture = imread(str(draw_detections([row], tmp_path / "a.png", NAMES, cell=CELL)))
    assert picture.shape[:2] == (34 + 128 + 12, 12 + 128 + 12)
    assert not has_color(picture, RIGHT)


def test_tensors_are_accepted(tmp_path):
    torch = pytest.importorskip("torch")
    boxes, labels = truth()
    found = torch.tensor(np.c_[boxes, [0.9, 0.8]], requires_grad=True), torch.tensor(labels)
    draw_detections([(torch.tensor(image()), {"a": found}, truth())], tmp_path / "a.png", NAMES)


@pytest.mark.parametrize(
    "rows, message",
    [
        ([], "nothing to draw"),
        ([(image(), {})], "nothing to draw"),
        ([(image().astype(float), {"a": ([], [])})], "uint8, got .* of float64"),
        ([(image()[..., 0], {"a": ([], [])})], r"\(H, W, 3\) of uint8, got \(64, 64\)"),
        ([(image(), {"a": (np.zeros((2, 4)), np.zeros(2))})], r"\(N, 5\).*got \(2, 4\) and \(2,\)"),
        ([(image(), {"a": (np.zeros((1, 5)), np.array([10]))})], "10 to 10.*has 10 entries"),
        ([(image(), {"a": ([], [])}), (image(), {"b": ([], [])})], r"entry 1 has \['b'\]"),
        ([(image(), {"a": ([], [])}, truth()), (image(), {"a": ([], [])})], "all rows or for none"),
    ],
)
def test_refused_input(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        draw_detections(rows, tmp_path / "a.png", NAMES)
    assert list(tmp_path.iterdir()) == []


def test_only_png_and_a_failure_keeps_the_old_file(tmp_path):
    row = (image(), {"a": ([], [])})
    with pytest.raises(ValueError, match="ending in .png, got .*a.jpg"):
        draw_detections([row], tmp_path / "a.jpg", NAMES)
    out = draw_detections([row], tmp_path / "a.png", NAMES)
    before = out.read_bytes()
    with pytest.raises(ValueError):
        draw_detections([], out, NAMES)
    assert out.read_bytes() == before
