"""Maps moved over a transform's grid: the mean over all offsets is the undecimated transform's."""

import itertools

import pytest
import pywt
import torch

from freekd.frequency import build_transform
from freekd.frequency.shift import check_grid, moved, random_offset
from freekd.losses.band_distance import weighted_distance


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_the_mean_over_all_offsets_is_the_undecimated_distance(distance):
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 1, 2, 16, 24, generator=generator, dtype=torch.float64)
    haar2 = build_transform(dict(type="haar", levels=2))
    ours = [
        weighted_distance(moved(student, d), moved(teacher, d), transform=haar2, distance=distance)
        for d in itertools.product(range(haar2.grid), repeat=2)
    ]
    levels = pywt.swt2((student - teacher).numpy(), "haar", level=2, axes=(-2, -1))  # coarse first
    bands = [levels[0][0], *(band for _, details in levels for band in details)]
    power = 1 if distance == "l1" else 2
    want = sum((abs(band) ** power).mean() for band in bands)
    assert torch.stack(ours).mean().item() == pytest.approx(want, rel=1e-12)


def test_offsets_cover_the_grid_and_go_by_the_seed():
    haar = build_transform("haar")
    torch.manual_seed(0)
    first = [random_offset(haar) for _ in range(2000)]
    assert set(first) == set(itertools.product(range(8), repeat=2))
    torch.manual_seed(0)
    assert [random_offset(haar) for _ in range(2000)] == first


@pytest.mark.parametrize(
    "transform, grid",
    [
        ("haar", 8),
        (dict(type="db2", levels=1), 2),
        (dict(type="dct", block=16), 16),
        ("dct", None),
        ("dft", None),
    ],
)
def test_which_transforms_have_a_grid(transform, grid):
    transform = build_transform(transform)
    assert transform.grid == grid
    if grid is None:
        with pytest.raises(ValueError, match="key.shift=True needs coefficients.*Remove key.shift"):
            check_grid(transform, "key.shift")
    else:
        check_grid(transform, "key.shift")


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 4)])
@pytest.mark.parametrize("offset", [(0, 0), (3, 5), (7, 4), (16, 1)])
def test_moved_is_rolled(size, offset):
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    assert torch.equal(moved(x, offset), torch.roll(x, offset, (-2, -1)))
    half = x.detach()[:, :1].expand(-1, 3, -1, -1).permute(1, 0, 2, 3)  # of any strides
    assert torch.equal(moved(half, offset), torch.roll(half, offset, (-2, -1)))
    torch.autograd.gradcheck(lambda y: moved(y, offset), (x,))
    torch.autograd.gradgradcheck(lambda y: moved(y, offset).square(), (x,))
