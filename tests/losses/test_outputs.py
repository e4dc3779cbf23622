"""One map of a backbone's outputs."""

import pytest
import torch

from freekd.checks import FeatureError
from freekd.losses.outputs import check_index, map_at

MAPS = tuple(torch.zeros(2, 8 * 2**i, 8 // 2**i, 8 // 2**i) for i in range(4))


def test_an_index_picks():
    assert map_at(MAPS, -1, "k") is MAPS[3] and map_at(list(MAPS), 2, "k") is MAPS[2]
    assert map_at(MAPS[0], -1, "k") is MAPS[0]


def test_a_pair_of_map_and_class_token():
    assert map_at(([MAPS[0], torch.zeros(2, 8)],), -1, "k") is MAPS[0]
    assert map_at(([MAPS[0], None],), 0, "k") is MAPS[0]


def test_tokens_of_a_square_grid_are_row_by_row():
    tokens = torch.arange(9.0).expand(1, 5, 9)
    assert map_at((tokens,), -1, "k")[0, 4].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


@pytest.mark.parametrize(
    ("output", "index", "said"),
    [
        (MAPS[:1], 2, r"x\.student_index=2: .* gives 1 outputs, .* an index from -1 to 0.*out_ind"),
        ((torch.zeros(2, 8),), -1, r"expected a map .*, got \(2, 8\).*gap_before_final_norm=False"),
        ((torch.zeros(2, 8, 10),), -1, r"got \(2, 8, 10\)\. Tap a backbone"),
        ((dict(),), -1, r"got dict\. Tap a backbone"),
        ((), -1, r"gives 0 outputs"),
    ],
)
def test_what_is_no_map(output, index, said):
    with pytest.raises(FeatureError, match=said):
        map_at(output, index, "x.student_index")


@pytest.mark.parametrize("value", [1.0, True, "last", 64])
def test_what_is_no_index(value):
    with pytest.raises(ValueError, match=r"k must be an integer, such as -1"):
        check_index("k", value)
