"""FourierKD's feature loss. Oracles: the specification step by step, properties, differences.

The reference's numbers are compared in test_golden.py.
"""

import importlib.util
from pathlib import Path

import pytest
import torch

from freekd.checks import FeatureError
from freekd.frequency import sphere_distance
from freekd.frequency.half_plane import HalfPlane
from freekd.losses import cards
from freekd.losses.fourierkd import FourierKDLoss

PATH = Path(__file__).parents[2] / "benchmarks" / "plain" / "fourierkd.py"
SPEC = importlib.util.spec_from_file_location("plain_fourierkd", PATH)
plain = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(plain)


def maps(*shapes, dtype=torch.float64, seed=0):
    """Students, which require a gradient, and teachers."""
    torch.manual_seed(seed)
    students = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    return students, [torch.randn(shape, dtype=dtype) for shape in shapes]


def built(channels, levels=1, dtype=torch.float64, noise=None, **options):
    """A loss whose parameters all matter, with a noise that depends on the shape alone."""
    torch.manual_seed(1)
    loss = FourierKDLoss(channels, channels, levels, **options).to(dtype)
    for level in loss.levels:
        torch.nn.init.normal_(level.fusion_logit)

    def draw(shape, device):
        generator = torch.Generator().manual_seed(shape[-1])
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    loss.draw_noise = noise or draw
    return loss


def gradients(value, *tensors):
    return torch.autograd.grad(value, tensors)


SHAPES = [(2, 4, 8, 8), (3, 5, 7, 9), (1, 3, 5, 6), (2, 3, 6, 5), (2, 2, 1, 1), (1, 1, 2, 3)]


@pytest.mark.parametrize("shift", ["all", "spatial"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_the_specification(shape, shift):
    """Value and every gradient, on even and odd N, C, H and W."""
    students, teachers = maps(shape)
    loss = built(shape[1], shift=shift, loss_weight=7.0)
    found, expected = loss(students, teachers), plain.loss(loss, students, teachers)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)
    tensors = [*students, *loss.parameters()]
    for one, two in zip(gradients(found, *tensors), gradients(expected, *tensors)):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-11 * float(two.abs().max()))


def test_in_float32_and_in_several_chunks(monkeypatch):
    """Seven channels by 4, of an image, and by 2, of both: some of the last chunk."""
    monkeypatch.setattr(sphere_distance, "_CHUNK_BYTES", 2**16)
    students, teachers = maps((2, 7, 50, 80), dtype=torch.float32)
    loss = built(7, dtype=torch.float32)
    found, expected = loss(students, teachers), plain.loss(loss, students, teachers)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    tensors = [*students, *loss.parameters()]
    for one, two in zip(gradients(found, *tensors), gradients(expected, *tensors)):
        assert float((one - two).abs().max()) <= 1e-3 * float(two.abs().max())


def test_maps_that_are_not_contiguous():
    """As torch's channels_last gives them, and cut from larger ones."""
    students, teachers = maps((2, 3, 9, 8), (2, 3, 9, 8))
    loss = built(3, 2)
    expected = loss(students, teachers)

    def other(x, y):
        return [x.to(memory_format=torch.channels_last), y.repeat(1, 2, 1, 2)[:, 3:, :, :8]]

    found = loss(other(*students), other(*teachers))
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)
    for one, two in zip(gradients(found, *students), gradients(expected, *students)):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-15)


def test_gradient_by_finite_differences():
    students, teachers = maps((2, 2, 3, 4))
    loss = built(2)
    tensors = (students[0], *loss.parameters())
    assert torch.autograd.gradcheck(lambda *_: loss(students, teachers), tensors)


def test_levels_are_summed_each_with_its_own_parameters():
    shapes = [(2, 3, 8, 8), (2, 3, 4, 5), (2, 3, 2, 3)]
    students, teachers = maps(*shapes)
    loss = built(3, 3, loss_weight=7.0)
    single = built(3, loss_weight=7.0)
    terms = []
    for level, student, teacher in zip(loss.levels, students, teachers):
        single.levels[0].load_state_dict(level.state_dict())
        terms.append(float(single(student, teacher).detach()))
    assert len({float(level.pre_conv.bias[0].detach()) for level in loss.levels}) == 3
    assert float(loss(students, teachers).detach()) == pytest.approx(sum(terms), rel=1e-12)


def test_the_releases_last_level():
    """No gradient in the others, and no parameters for them."""
    students, teachers = maps((2, 3, 8, 8), (2, 3, 4, 4))
    loss = built(3, 2, legacy_last_level=True)
    assert len(loss.levels) == 1
    value = loss(students, teachers)
    assert torch.equal(value, built(3)(students[-1:], teachers[-1:]))
    value.backward()
    assert students[0].grad is None and students[1].grad.abs().max() > 0


def test_equal_maps_cost_nothing():
    """w = 1 - cos(S, S) = 0."""
    students, _ = maps((2, 3, 6, 6))
    loss = built(3)
    assert abs(float(loss(students, [students[0].detach()]).detach())) < 1e-14


def test_without_amplitude_the_student_is_the_pole():
    """U = 0: its three maps are constant, 0 when standardised: 1/2 mean w (B(X)^2 + ...)."""
    students, teachers = maps((2, 3, 6, 6))
    loss = built(3, noise=lambda shape, device: torch.zeros(shape), shift="spatial")
    value = loss(students, teachers)
    s, t = students[0].detach(), teachers[0]
    weight = 1 - (s * t).sum((2, 3)) / (s.square().sum((2, 3)) * t.square().sum((2, 3))).sqrt()
    spectrum = torch.fft.fft2(t, norm="ortho")
    expected = 0.0
    for k in plain.sphere(spectrum):
        variance, mean = torch.var_mean(k, (0, 2, 3), unbiased=False, keepdim=True)
        expected += float((weight[..., None, None] * (k - mean) ** 2 / (variance + 1e-5)).mean())
    assert float(value.detach()) == pytest.approx(expected / 2, rel=1e-12)
    assert all(grad.isfinite().all() for grad in gradients(value, *students))


def test_noise_of_ones_is_possible():
    students, teachers = maps((1, 3, 5, 5))
    loss = built(3, noise=lambda shape, device: torch.ones(shape))
    expected = float(plain.loss(loss, students, teachers).detach())
    assert float(loss(students, teachers).detach()) == pytest.approx(expected, rel=1e-12)


def test_the_order_of_the_noise_does_not_matter_in_the_mean():
    """64 draws, and 64 of them turned about: means within four of their standard errors."""
    students, teachers = maps((2, 3, 8, 8))
    drawn = []
    for turn in (lambda x: x, lambda x: x.flip(0, 1, 2, 3)):
        loss = built(3, noise=lambda shape, _, turn=turn: turn(torch.rand(shape)))
        with torch.no_grad():
            drawn.append(torch.stack([loss(students, teachers) for _ in range(64)]))
    one, two = drawn
    error = ((one.var() + two.var()) / 64).sqrt()
    assert float((one.mean() - two.mean()).abs()) < 4 * float(error)


def test_the_noise_is_the_generators():
    """Drawn anew in each call, in evaluation too; the same from the same seed."""
    students, teachers = maps((1, 2, 4, 4))
    loss = FourierKDLoss(2, 2, 1).double().eval()
    values = []
    for seed in (3, None, 3):
        if seed is not None:
            torch.manual_seed(seed)
        values.append(float(loss(students, teachers).detach()))
    assert values[0] == values[2] != values[1]
    noise = loss.draw_noise((2, 8, 64, 64), torch.device("cpu"))
    assert 0 <= float(noise.min()) and float(noise.max()) < 1
    assert float(noise.mean()) == pytest.approx(0.5, abs=0.01)


def test_a_resumed_run_draws_the_same():
    """What was drawn before does not count, only the run's seed and the iteration."""
    from freekd import compat

    compat.apply()
    from freekd.engine.hooks import IterationSeedHook

    class Runner:
        rank = 0

    loss, drawn = FourierKDLoss(2, 2, 1), []
    for iteration in (4, 5, 5):
        Runner.iter = iteration
        IterationSeedHook(0).before_train_iter(Runner)
        drawn.append(loss.draw_noise((2, 2, 5, 5), torch.device("cpu")))
        torch.rand(3)
    assert torch.equal(drawn[1], drawn[2]) and not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("size", [(8, 8), (25, 42), (7, 11)], ids=str)
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_where_there_is_no_amplitude_there_is_no_gradient(value, size):
    """A constant P, so that all but one frequency is 0, or rounding; and a teacher of 0.

    Then its cosine is 0, so that all of the channel's gradient comes from that frequency: it is
    constant.
    """
    students, teachers = maps((2, 3, *size), dtype=torch.float32)
    loss = built(3, dtype=torch.float32)
    with torch.no_grad():
        torch.nn.init.dirac_(loss.levels[0].pre_conv.weight)
        torch.nn.init.zeros_(loss.levels[0].pre_conv.bias)
        students[0][:, 1], teachers[0][:, 1] = value, 0
    result = loss(students, teachers)
    found = gradients(result, *students, *loss.parameters())
    assert torch.isfinite(result) and all(grad.isfinite().all() for grad in found)
    constant, largest = found[0][:, 1], float(found[0][:, 0].abs().max())
    mean = constant.mean((1, 2), keepdim=True)
    assert float((constant - mean).abs().max()) <= 1e-6 * largest
    assert mean.all() if value else not mean.any()


def test_a_student_channel_of_zeros_has_no_direction():
    """The cosine's derivative there would be 1 / 1e-8."""
    (student,), teachers = maps((2, 3, 6, 5))
    with torch.no_grad():
        student[:, 1] = 0
    (found,) = gradients(built(3)([student], teachers), student)
    largest = found.abs().amax((0, 2, 3))
    assert float(largest[1]) <= 10 * float(largest[0])


def test_zero_maps():
    loss = built(2, dtype=torch.float32)
    student = torch.zeros(2, 2, 5, 4, requires_grad=True)
    value = loss(student, torch.zeros(2, 2, 5, 4))
    grads = gradients(value, student, *loss.parameters())
    assert torch.isfinite(value) and all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_float32_under_autocast(dtype):
    students, teachers = maps((2, 3, 6, 7), dtype=dtype)
    loss = built(3, dtype=torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        value = loss(students, teachers)
    wide = loss([x.float() for x in students], [x.float() for x in teachers])
    assert value.dtype == torch.float32 and torch.equal(value, wide)
    value.backward()
    assert students[0].grad.dtype == dtype and students[0].grad.isfinite().all()


def test_maps_and_parameters_of_two_precisions():
    """The parameters say which: float64 maps before float32 ones, and the reverse."""
    students, teachers = maps((2, 3, 6, 7))
    value = built(3, dtype=torch.float32)(students, teachers)
    assert value.dtype == torch.float32
    value.backward()
    assert students[0].grad.dtype == torch.float64
    low = [x.detach().float().requires_grad_() for x in students]
    wide = built(3)(low, [x.float() for x in teachers])
    assert wide.dtype == torch.float64 and float(wide.detach()) == pytest.approx(
        float(value.detach()), rel=1e-5
    )
    wide.backward()
    assert low[0].grad.dtype == torch.float32


def test_nothing_flows_into_the_teacher():
    students, teachers = maps((2, 3, 4, 4))
    teachers[0].requires_grad_()
    loss = built(3)
    loss(students, teachers).backward()
    assert teachers[0].grad is None
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in loss.parameters())


def test_no_gradient_is_made_where_none_is_wanted():
    students, teachers = maps((2, 3, 4, 4))
    loss = built(3)
    with torch.no_grad():
        value = loss(students, teachers)
    assert not value.requires_grad and torch.equal(value, loss(students, teachers).detach())


def test_the_connector():
    """Where channels differ: a convolution with bias, and ReLU."""
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 5, 5), torch.randn(2, 6, 5, 5)
    loss = FourierKDLoss(2, 6, 1)
    loss.draw_noise = built(6).draw_noise
    same = FourierKDLoss(6, 6, 1)
    same.levels, same.draw_noise = loss.levels, loss.draw_noise
    connected = torch.nn.functional.conv2d(student, loss.align[0].weight, loss.align[0].bias)
    assert torch.equal(loss(student, teacher), same(connected.relu(), teacher))
    plainly = FourierKDLoss(2, 6, 1, align="conv1x1")
    plainly.align, plainly.levels, plainly.draw_noise = loss.align, loss.levels, loss.draw_noise
    assert torch.equal(plainly(student, teacher), same(connected, teacher))
    assert FourierKDLoss(6, 6, 1).align is None
    with pytest.raises(ValueError, match="align=None.*student_channels"):
        FourierKDLoss(2, 6, 1, align=None)


def test_levels_of_equal_channels_beside_others():
    """A convolution, the identity at first, and no ReLU, which would cut half of what agrees."""
    loss = FourierKDLoss([4, 3], [4, 4], 2)
    students = [torch.randn(1, 4, 5, 5), torch.randn(1, 3, 5, 5)]
    (same, _), (other, _) = loss.aligned(students, [torch.randn(1, 4, 5, 5)] * 2)
    assert torch.equal(same, students[0])
    assert torch.equal(other, loss.align[1](students[1]).relu())


def test_what_is_not_taught_has_no_connector():
    """And draws no random numbers."""
    torch.manual_seed(0)
    last = FourierKDLoss([5, 3], [6, 4], 2, legacy_last_level=True).state_dict()
    torch.manual_seed(0)
    alone = FourierKDLoss(3, 4, 1).state_dict()
    assert list(last) == list(alone) and all(torch.equal(last[key], alone[key]) for key in last)
    assert FourierKDLoss([3, 4], [4, 4], 2, legacy_last_level=True).align is None


@pytest.mark.parametrize("resize_student", [True, False])
def test_other_sizes(resize_student):
    """Of the student by default, also where widths alone differ."""
    students, _ = maps((2, 3, 4, 6))
    _, teachers = maps((2, 3, 4, 5))
    loss = built(3, resize_student=resize_student)
    sizes = dict(size=(4, 5 if resize_student else 6), mode="bilinear", align_corners=False)
    resized = [
        [torch.nn.functional.interpolate(x, **sizes) for x in side] for side in (students, teachers)
    ]
    assert torch.equal(loss(students, teachers), loss(*resized))


def test_bad_options_name_their_key():
    check = FourierKDLoss.check_options
    for options, words in (
        (dict(shift="batch"), "x.shift='batch' is not known; expected one of 'all', 'spatial'"),
        (dict(align="relu"), "x.align='relu' is not known"),
        (dict(resize_student=1), "x.resize_student must be True or False, got 1"),
        (dict(legacy_last_level="no"), "x.legacy_last_level must be True or False, got 'no'"),
    ):
        with pytest.raises(ValueError, match=words):
            check(options, "x")
        with pytest.raises(ValueError, match=words.replace("x.", "")):
            FourierKDLoss(2, 2, 1, **options)
    with pytest.raises(ValueError, match="loss_weight must be"):
        FourierKDLoss(2, 2, 1, loss_weight=-1)
    with pytest.raises(FeatureError, match=r"student level 1: expected \(N, 3, H, W\)"):
        FourierKDLoss(3, 3, 2)([torch.ones(1, 3, 2, 2), torch.ones(1, 2, 2, 2)], [1, 2])
    with pytest.raises(FeatureError, match="gives 1 feature maps, num_levels=2"):
        FourierKDLoss(3, 3, 2)(torch.ones(1, 3, 2, 2), torch.ones(1, 3, 2, 2))


def test_card():
    card = cards()["fourierkd"]
    assert card.type == "FourierKDLoss"
    assert card.taps == dict(det="neck", seg="backbone.layer4")
    assert "7" in card.hint(built(2)) and "41" in card.hint(built(2))


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 1), (3, 2), (1, 4)], ids=str)
def test_half_of_a_spectrum(size):
    """Spread against numpy's whole spectrum; fold and adjoint by inner products."""
    torch.manual_seed(0)
    plane, x = HalfPlane(*size), torch.randn(2, *size, dtype=torch.float64)
    half, whole = plane.analyse(x), torch.fft.fft2(x, norm="ortho")
    for shift in (False, True):
        there = torch.fft.fftshift(whole, dim=(-2, -1)) if shift else whole
        ordered = there.flatten(1)[:, plane.positions(shift, x.device)]
        torch.testing.assert_close(plane.spread(half.real.contiguous()), ordered.real)
        torch.testing.assert_close(plane.spread(half.imag.contiguous(), -1), ordered.imag)
    for sign in (1.0, -1.0):
        y, z = torch.randn(2, *half.shape[1:]).double(), torch.randn(2, x[0].numel()).double()
        expected = (plane.spread(y, sign) * z).sum()
        torch.testing.assert_close((y * plane.fold(z.clone(), sign)).sum(), expected)
    g = torch.randn(half.shape, dtype=torch.complex128)
    expected = (half * g.conj()).real.sum()
    torch.testing.assert_close((x * plane.adjoint(g * plane.shares(x))).sum(), expected)
