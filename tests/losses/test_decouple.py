"""The mean and the rest. Oracles: cosine transforms, autograd on the plain form, by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from freekd.losses import decouple
from freekd.losses.decouple import decoupled_distance


def cosines(n):
    """The matrix of the cosine transform of type II, not normalised."""
    k, x = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    return torch.cos(math.pi / n * (x + 0.5) * k)


def filtered(feat, keep_dc):
    """(..., H, W) through two cosine transforms, coefficient (0, 0) alone or all but it, back."""
    rows, columns = cosines(feat.shape[-2]), cosines(feat.shape[-1])
    spectrum = rows @ feat @ columns.T
    mask = torch.zeros(feat.shape[-2:], dtype=torch.float64)
    mask[0, 0] = 1
    spectrum = spectrum * (mask if keep_dc else 1 - mask)
    return torch.linalg.inv(rows) @ spectrum @ torch.linalg.inv(columns).T


@pytest.mark.parametrize("size", [(7, 7), (5, 8), (1, 6)])
def test_masking_frequencies_is_the_mean(size):
    torch.manual_seed(0)
    feat = torch.randn(2, 3, *size, dtype=torch.float64)
    mean = feat.mean((2, 3), keepdim=True)
    torch.testing.assert_close(filtered(feat, True), mean.expand_as(feat), rtol=0, atol=1e-13)
    torch.testing.assert_close(filtered(feat, False), feat - mean, rtol=0, atol=1e-13)


def by_transforms(student, teacher):
    """Both parts of two maps (N, C, H, W), the vectors along C, by masked spectra."""
    parts = []
    for keep_dc in (True, False):
        sides = [F.normalize(filtered(feat, keep_dc), dim=1) for feat in (student, teacher)]
        parts.append((sides[0] - sides[1]).square().sum())
    return parts


def plain(student, teacher, axis, dc_weight, ac_weight):
    """In autograd's way."""
    means = [feat.mean(axis, keepdim=True) for feat in (student, teacher)]
    units = [F.normalize(mean, dim=3 - axis) for mean in means]
    dc = student.shape[axis] * (units[0] - units[1]).square().sum()
    rests = [F.normalize(x - m, dim=3 - axis) for x, m in zip((student, teacher), means)]
    return dc_weight * dc + ac_weight * (rests[0] - rests[1]).square().sum()


def test_it_is_the_distance_of_masked_spectra():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 6, 5, 8, dtype=torch.float64)
    found = decoupled_distance(student.flatten(2), teacher.flatten(2), axis=2)
    torch.testing.assert_close(torch.stack(found[1:]), torch.stack(by_transforms(student, teacher)))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("part_bytes", [64, 2**20])
def test_gradient_is_autograd_s(axis, part_bytes, transposed, monkeypatch):
    """In one piece and in many, in any order in memory."""
    monkeypatch.setattr(decouple, "PART_BYTES", part_bytes)
    torch.manual_seed(0)
    student = torch.randn(3, 40, 50, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 50, 40, dtype=torch.float64).transpose(1, 2)
    values, gradients = [], []
    for function in (plain, lambda *args: decoupled_distance(*args).total):
        given = student.transpose(1, 2).contiguous().transpose(1, 2) if transposed else student
        value = function(given, teacher, axis, 0.3, 0.7)
        values.append(value.detach())
        gradients += torch.autograd.grad(3 * value, student)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)


def test_finite_differences():
    torch.manual_seed(0)
    student = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: decoupled_distance(s, teacher, 1, 2, 3).total,
                                    student)  # fmt: skip


def test_by_hand():
    """Means (2, 2) and (0, 4) along axis 1, rests (-1, 1) and (-3, 3) in two rows; unit along 2.

    unit(2, 2) = (r, r) with r = 1 / sqrt 2, unit(0, 4) = (0, 1): dc = 2 (r^2 + (1 - r)^2).
    The rests: rows (-1, -3), (1, 3) of the student, (1, 0), (-1, 0) of the teacher. The units
    have the product -1 / sqrt 10 in both: ac = 2 (2 + 2 / sqrt 10).
    """
    student = torch.tensor([[[1.0, -1.0], [3.0, 5.0]]])
    teacher = torch.tensor([[[1.0, 4.0], [-1.0, 4.0]]])
    found = decoupled_distance(student, teacher, axis=1)
    root = 0.5**0.5
    assert float(found.dc) == pytest.approx(2 * (root**2 + (1 - root) ** 2))
    assert float(found.ac) == pytest.approx(4 + 4 / 10**0.5)
    assert float(found.total) == pytest.approx(float(found.dc) + float(found.ac))


@pytest.mark.parametrize("value", [3.0, 0.1, 1e-3])
@pytest.mark.parametrize("axis", [1, 2])
def test_a_constant_student_has_no_direction(axis, value):
    """Its rest is exactly 0, whatever its mean is rounded to: the distance is that of the teacher's
    unit vectors, and the gradient that of the mean alone.
    """
    student = torch.full((2, 49, 40), value, requires_grad=True)
    teacher = torch.randn(2, 49, 40)
    found = decoupled_distance(student, teacher, axis, 0.0, 1.0)
    assert float(found.ac) == pytest.approx(2 * (49 if axis == 1 else 40), rel=1e-5)
    found.total.backward()
    assert not student.grad.any()


def test_a_small_rest_beside_a_large_mean_has_one():
    """A thousandth of the mean is no rounding."""
    torch.manual_seed(0)
    rest, teacher = torch.randn(2, 2, 6, 4, dtype=torch.float64)
    rest = rest - rest.mean(1, keepdim=True)
    expected = decoupled_distance(rest, teacher, 1).ac
    found = decoupled_distance((1000 + rest).float(), teacher.float(), 1).ac
    assert float(found) == pytest.approx(float(expected), rel=1e-3)


def test_parts_have_no_gradient_and_no_grad_is_quiet():
    student = torch.randn(1, 3, 4, requires_grad=True)
    found = decoupled_distance(student, torch.randn(1, 3, 4), 1)
    assert [part.requires_grad for part in found] == [True, False, False]
    with torch.no_grad():
        again = decoupled_distance(student, torch.randn(1, 3, 4), 1)
    assert not again.total.requires_grad
