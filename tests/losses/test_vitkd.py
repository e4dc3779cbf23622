"""ViTKD. Oracles: hand arithmetic, properties of the equation; tests/golden has the reference's."""

import math

import pytest
import torch
from loss_steps import step_of

from freekd.checks import FeatureError
from freekd.losses.vitkd import TAPS, ViTKDLoss, kept_tokens

PATHS = dict(first="backbone.layers.0", second="backbone.layers.1", last="backbone.ln1")


BOTH = (PATHS, PATHS)
STEP = step_of(leading=(0, 0), paths=BOTH)


def widths(width):
    return dict.fromkeys(TAPS, width)


def tokens(width, patches=9, images=2, leading=0, dtype=torch.float64):
    return {
        name: torch.randn(images, leading + patches, width, dtype=dtype, requires_grad=True)
        for name in TAPS
    }


def loss_of(student=3, teacher=4, noise=None, **options):
    torch.manual_seed(1)
    loss = ViTKDLoss(widths(student), widths(teacher), **options).double()
    if noise is not None:
        loss.draw = lambda images, count, device: noise
    return loss


@pytest.fixture
def noise():
    """Of each image the five smallest of nine, another five in each."""
    torch.manual_seed(2)
    return torch.rand(2, 9, dtype=torch.float64)


# --------------------------------------------------------------------------- by hand
def test_by_hand():
    """Width 1, P = 4, N = 2. Low: differences of 1 at 4 tokens of 2 blocks in each image: 8.

    High: half of the tokens are masked, two in each image; with convolutions that give their bias 3
    and a teacher of 1, each is (3 - 1)^2 = 4: 2 images x 2 tokens x 4 / 2 images = 8.
    """
    loss = loss_of(1, 1, torch.rand(2, 4), alpha=0.5, beta=0.25, mask_share=0.5, loss_weight=3.0)
    assert not loss.align
    for parameter in loss.generate.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(loss.generate[2].bias, 3.0)
    student = {name: torch.full((2, 4, 1), 2.0).double() for name in TAPS}
    teacher = {name: torch.ones(2, 4, 1).double() for name in TAPS}
    found = loss(student, teacher, STEP)
    assert float(found) == pytest.approx(3 * (0.5 * 8 + 0.25 / 0.5 * 8), rel=1e-12)


def test_the_grid_is_row_by_row():
    """A kernel that takes the left neighbour: token p gets token p - 1, the first of a row 0."""
    loss = loss_of(1, 1)
    with torch.no_grad():
        for layer in (loss.generate[0], loss.generate[2]):
            layer.weight.zero_(), layer.bias.zero_()
        loss.generate[0].weight[0, 0, 1, 0] = 1.0  # left
        loss.generate[2].weight[0, 0, 1, 1] = 1.0
    grid = torch.arange(1.0, 10.0, dtype=torch.float64).view(1, 9, 1)
    found = loss.generated(grid, torch.ones(1, 9, dtype=torch.bool))
    assert found.flatten().tolist() == [0, 1, 2, 0, 4, 5, 0, 7, 8]


def test_the_mask_token_stands_for_masked_tokens():
    loss = loss_of(1, 1)
    with torch.no_grad():
        for layer in (loss.generate[0], loss.generate[2]):
            layer.weight.zero_(), layer.bias.zero_()
            layer.weight[0, 0, 1, 1] = 1.0
        loss.mask_token.fill_(7.0)
    kept = torch.tensor([[True, False, True, False]])
    found = loss.generated(torch.ones(1, 4, 1, dtype=torch.float64), kept)
    assert found.flatten().tolist() == [1, 7, 1, 7]


@pytest.mark.parametrize(("share", "count"), [(0.5, 4), (0.3, 6), (0.01, 8), (0.95, 0)])
def test_how_many_tokens_stay(noise, share, count):
    """floor(9 (1 - lambda)), those of the smallest numbers."""
    kept = kept_tokens(noise, share)
    assert kept.sum(dim=1).tolist() == [count, count]
    for one, numbers in zip(kept, noise):
        assert one[~one].numel() == 9 - count
        assert count in (0, 9) or numbers[one].max() < numbers[~one].min()


# --------------------------------------------------------------------------- properties
def test_teacher_tokens_that_are_not_masked_do_not_count(noise):
    loss, student, teacher = loss_of(noise=noise, alpha=0.0), tokens(3), tokens(4)
    kept = kept_tokens(noise, 0.5)[..., None]
    before = loss(student, teacher, STEP)
    last = teacher["last"].detach()
    other = dict(teacher, last=torch.where(kept, last + 9, last))
    torch.testing.assert_close(loss(student, other, STEP), before)
    other = dict(teacher, last=torch.where(kept, last, last + 9))
    assert not torch.isclose(loss(student, other, STEP), before)


def test_student_tokens_that_are_masked_do_not_count(noise):
    loss, student, teacher = loss_of(noise=noise, alpha=0.0), tokens(3), tokens(4)
    (grad,) = torch.autograd.grad(loss(student, teacher, STEP), student["last"])
    kept = kept_tokens(noise, 0.5)
    assert not grad[~kept].any() and bool(grad[kept].any(dim=1).all())


def test_where_gradients_go():
    """Into the student and all that the loss has; not into the teacher."""
    loss, student, teacher = loss_of(), tokens(3), tokens(4)
    loss(student, teacher, STEP).backward()
    assert all(bool(each.grad.any()) for each in student.values())
    assert all(each.grad is None for each in teacher.values())
    assert all(bool(parameter.grad.any()) for parameter in loss.parameters())
    assert {name.split(".")[0] for name, _ in loss.named_parameters()} == {
        "align", "mask_token", "generate",
    }  # fmt: skip


def test_the_gradient_is_that_of_the_function(noise):
    loss, teacher = loss_of(noise=noise, alpha=0.1, beta=0.2), tokens(4)
    student = tokens(3)

    def function(first, second, last):
        return loss(dict(first=first, second=second, last=last), teacher, STEP)

    assert torch.autograd.gradcheck(function, tuple(student.values()))


def test_tokens_before_the_patches_do_not_count(noise):
    """A class token of the teacher, a class and a distillation token of the student."""
    loss, student, teacher = loss_of(noise=noise), tokens(3), tokens(4)
    plain = loss(student, teacher, STEP)
    ours = {k: torch.cat((torch.randn(2, 2, 3), v.detach()), 1) for k, v in student.items()}
    theirs = {k: torch.cat((torch.randn(2, 1, 4), v.detach()), 1) for k, v in teacher.items()}
    torch.testing.assert_close(
        loss(ours, theirs, step_of(leading=(2, 1), paths=BOTH)), plain.detach()
    )


def test_the_draw_is_torchs_own():
    """Another in each call; the same from the same seed."""
    loss, student, teacher = loss_of(alpha=0.0), tokens(3), tokens(4)
    torch.manual_seed(5)
    found = [float(loss(student, teacher, STEP).detach()) for _ in range(3)]
    torch.manual_seed(5)
    assert float(loss(student, teacher, STEP).detach()) == found[0] != found[1] != found[2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_computed_in_float32(dtype):
    loss = loss_of(alpha=1.0, beta=1.0, noise=torch.rand(2, 9)).float()
    student, teacher = (
        {k: v.detach().to(dtype) for k, v in tokens(width, dtype=torch.float32).items()}
        for width in (3, 4)
    )
    sides = [{k: v.float() for k, v in side.items()} for side in (student, teacher)]
    plain = loss(*sides, STEP)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(loss(student, teacher, STEP), plain)


# --------------------------------------------------------------------------- what it refuses
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(alpha=-1), "vitkd.alpha must be a finite number of at least 0, got -1"),
        (dict(beta=math.inf), "vitkd.beta must be a finite number"),
        (dict(mask_share=0), "vitkd.mask_share must be above 0"),
        (dict(mask_share=0.0), "vitkd.mask_share must be above 0"),
        (dict(mask_share=1.0), "vitkd.mask_share must be a number from 0 up to, but below, 1"),
        (dict(mask_share="half"), "vitkd.mask_share must be a number"),
        (dict(loss_weight=[1]), "vitkd.loss_weight must be"),
    ],
)
def test_options_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        ViTKDLoss(widths(3), widths(4), **options)


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        (3, "expected the taps first, second, last"),
        (dict(first=3), "expected the taps first, second, last"),
        (dict(first=3, second=3, last=6), r"one width at all taps of the student.*'last': 6"),
    ],
)
def test_taps_that_are_not_its_own(channels, words):
    with pytest.raises(ValueError, match=words):
        ViTKDLoss(channels, widths(4))


@pytest.mark.parametrize(
    ("student", "teacher", "leading", "words"),
    [
        (tokens(3, 9), tokens(4, 16), (0, 0),
         r"key, tap 'first' \('backbone.layers.0', 'backbone.layers.0'\).*9 in the student and 16"),
        (tokens(3, 10), tokens(4, 10), (0, 0), "square grid, got 10 in the student and 10 in"),
        (tokens(3, 9), tokens(4, 9), (0, 1), "got 9 in the student and 8 in the teacher"),
        (tokens(5, 9), tokens(4, 9), (0, 0), r"of the student\): expected tokens of width 3.* 5"),
        (tokens(3, 9), widths(torch.zeros(2, 4, 3, 3)), (0, 0),
         r"'first' .*of the teacher\): expected tokens .* got \(2, 4, 3, 3\)"),
        (tokens(3, 9), widths(torch.zeros(2, 1, 4)), (0, 1), r"got \(2, 1, 4\)"),
        (tokens(3, 9), widths((torch.zeros(2, 4),)), (0, 0), r"got \(2, 4\)"),
    ],
)  # fmt: skip
def test_what_taps_may_not_give(student, teacher, leading, words):
    loss = loss_of()
    with pytest.raises(FeatureError, match=words):
        loss.check_taps(student, teacher, step_of(leading=leading, paths=BOTH), "key")
    with pytest.raises(FeatureError, match="vitkd, tap"):
        loss(student, teacher, step_of(leading=leading, paths=BOTH))
