"""The Triton kernels' numbers, by Triton's interpreter on CPU: no GPU needed.

TRITON_INTERPRET=1 must be set before triton is imported, so test_haar_triton.py runs this file in a
process of its own. The oracle is the torch path, of which other tests show that it is PyWavelets'.
"""

import os

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

assert os.environ.get("TRITON_INTERPRET") == "1", "run by tests/frequency/test_haar_triton.py"

from freekd.frequency import WaveletTransform, dwt2
from freekd.frequency.haar_distance import plain_distance
from freekd.frequency.triton import check, ops
from freekd.losses.freekd import freekd_loss
from freekd.prompts.forms import SIGNED, EnergyBiasForm
from freekd.prompts.masks import mask_weight, prompt_masks
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec

EXAMPLES = int(os.environ.get("FREEKD_EXAMPLES", "3"))
SETTINGS = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "phases": (Phase.explicit, Phase.generate),  # an example takes a second: no shrinking
}
TOLERANCE = {
    torch.float64: 1e-10,
    torch.float32: 1e-5,
    torch.float16: 1e-3,
    torch.bfloat16: 1e-2,  # of what is rounded to it at the end
}


class TorchPath:
    """Keeps the kernels out, for the oracle."""

    def __enter__(self):
        os.environ["FREEKD_TRITON"] = "0"

    def __exit__(self, *args):
        del os.environ["FREEKD_TRITON"]


def close(ours, theirs, dtype):
    assert ours.shape == theirs.shape
    scale = theirs.abs().max().double().clamp_min(1e-30)
    worst = float((ours.double() - theirs.double()).abs().max() / scale)
    assert worst < TOLERANCE[dtype], worst


def wide(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


def maps(draw, dtype, count=1):
    """``count`` maps (N, C, H, W), one in three of them with strides of its own."""
    shape = [draw(st.integers(1, most)) for most in (2, 3, 19, 19)]
    out = []
    for _ in range(count):
        x = torch.randn(shape, dtype=torch.float64).to(dtype)
        kind = draw(st.sampled_from(("plain", "plain", "sliced", "channels_last")))
        if kind == "sliced":
            x = torch.nn.functional.pad(x, (1, 2, 0, 1))[..., : shape[2], 1 : 1 + shape[3]]
        elif kind == "channels_last":
            x = x.contiguous(memory_format=torch.channels_last)
        out.append(x)
    return out


dtypes = st.sampled_from(sorted(TOLERANCE, key=str))
levels_ = st.integers(1, ops.MAX_LEVELS)


def test_the_interpreter_is_on():
    x = torch.zeros(1, 1, 4, 4)
    assert ops.available(x, 3)
    assert not ops.available(x, ops.MAX_LEVELS + 1)
    assert not ops.available(x.long(), 1)
    assert not ops.available(x[:0], 1)
    with TorchPath():
        assert not ops.available(x, 3)


@settings(max_examples=EXAMPLES, **SETTINGS)
@given(data=st.data(), dtype=dtypes, levels=levels_)
def test_transform_and_inverse(data, dtype, levels):
    (x,) = maps(data.draw, dtype)
    bands = ops.analysis(x, levels)
    with TorchPath():
        expected = dwt2(x, levels=levels).flat()
    for band, oracle in zip(bands, expected):
        assert band.dtype == wide(dtype)
        close(band, oracle, wide(dtype))
    close(ops.synthesis(bands, x.shape[-2:]), x, wide(dtype))


@settings(max_examples=2 * EXAMPLES, **SETTINGS)
@given(
    data=st.data(),
    dtypes=st.tuples(dtypes, dtypes),
    levels=levels_,
    squared=st.booleans(),
    gated=st.booleans(),
    programs_per_core=st.sampled_from((16, 1e-4)),  # with few, a lane takes several channels
)
def test_distance_and_gradient(data, dtypes, levels, squared, gated, programs_per_core):
    student, teacher = (x.to(d) for x, d in zip(maps(data.draw, torch.float64, 2), dtypes))
    computed = wide(dtypes[0]) if dtypes[1] != torch.float64 else torch.float64
    images, channels = student.shape[:2]
    with TorchPath():
        sizes = [band.shape[-2:] for band in dwt2(student, levels=levels).flat()]
    rows = [data.draw(st.sampled_from((1, images))) for _ in sizes]
    weights = [torch.rand(n, *size, dtype=computed) for n, size in zip(rows, sizes)]
    omega = torch.rand(images, channels, dtype=computed) if gated else None
    factor = torch.tensor(-1.7, dtype=computed)
    options = (weights, omega, levels, squared)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "_PROGRAMS_PER_CORE", programs_per_core)
        value = ops.distance_value(student, teacher, *options)
        gradient = ops.distance_gradient(student, teacher, *options, factor)

    exact = student.double().requires_grad_()
    with TorchPath():
        oracle = plain_distance(
            exact,
            teacher.double(),
            [weight.double() for weight in weights],
            None if omega is None else omega.double(),
            squared,
        )
        (slope,) = torch.autograd.grad(oracle, exact, factor.double())
    assert value.dtype == computed and value.shape == ()
    close(value, oracle.detach(), computed)
    assert gradient.dtype == student.dtype
    close(gradient, slope, student.dtype if computed == torch.float64 else min_type(student.dtype))


def min_type(dtype):
    """float64 that was computed in float32 is as good as float32."""
    return torch.float32 if dtype == torch.float64 else dtype


@settings(max_examples=2 * EXAMPLES, **SETTINGS)
@given(
    data=st.data(),
    dtype=dtypes,
    levels=levels_,
    granularity=st.sampled_from(("band", "level")),
    prompts=st.sampled_from((1, 2, 4)),
    distance=st.sampled_from(("l1", "l2")),
    energy=st.booleans(),
)
def test_mask_weights(data, dtype, levels, granularity, prompts, distance, energy):
    (teacher,) = maps(data.draw, dtype)
    groups = 1 + (levels if granularity == "level" else 3 * levels)
    prompt = torch.randn(groups, prompts, teacher.shape[1])
    form, options = SIGNED, ()
    if energy:
        form = EnergyBiasForm(torch.rand(groups, teacher.shape[1]), torch.randn(groups, prompts))
        options = (True, form.factors(prompt).offset)
    weights = form.factors(prompt).weights
    ours = ops.mask_weights(teacher, weights, levels, granularity, distance == "l2", *options)
    with TorchPath():
        exact = teacher.to(wide(dtype)).double()
        transform = WaveletTransform(levels=levels)
        bands = transform.analyse(exact)
        if energy:
            form = EnergyBiasForm(form.mean.double(), form.bias.double())
        masks = prompt_masks(prompt.double(), bands, transform, granularity, form)
    expected = [mask_weight(mask, distance) for mask in masks]
    if granularity == "level":
        expected = expected[:1] + [weight for weight in expected[1:] for _ in range(3)]
    assert len(ours) == len(expected) == 3 * levels + 1
    for weight, oracle in zip(ours, expected):
        assert weight.dtype == wide(dtype)
        close(weight, oracle, wide(dtype))


def test_many_channels_are_shared_out():
    """Several programs, lanes and steps per lane take part in one sum; 70 is no multiple of any."""
    teacher, prompt = torch.randn(2, 70, 9, 13), torch.randn(10, 2, 70)
    ours = ops.mask_weights(teacher, prompt, 3)
    with TorchPath():
        masks = prompt_masks(prompt.double(), dwt2(teacher.double()))
    for weight, mask in zip(ours, masks):
        close(weight, mask.mean(1), torch.float32)
    form = EnergyBiasForm(torch.rand(10, 70) + 0.5, torch.randn(10, 2))
    factors = form.factors(prompt)  # of the parts one alone adds the offset
    ours = ops.mask_weights(teacher, factors.weights, 3, magnitudes=True, offset=factors.offset)
    with TorchPath():
        masks = prompt_masks(prompt, dwt2(teacher), form=form)
    for weight, mask in zip(ours, masks):
        close(weight, mask.mean(1), torch.float32)


@pytest.mark.parametrize("granularity", ["band", "level"])
@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_the_loss_takes_the_kernels_by_itself(granularity, distance, monkeypatch):
    calls = []
    for name in ("distance_value", "distance_gradient"):
        inner = getattr(ops, name)
        monkeypatch.setattr(
            ops, name, lambda *args, inner=inner: (calls.append(1), inner(*args))[1]
        )
    student, teacher = torch.randn(2, 2, 3, 11, 14).unbind()
    prompt = torch.randn(10 if granularity == "band" else 4, 2, 3)
    with TorchPath():
        masks = prompt_masks(prompt, dwt2(teacher), granularity=granularity)
    omega = torch.rand(2, 3, 1, 1)
    results = []
    for use_kernels in (True, False):
        leaf = student.clone().requires_grad_()

        def step(leaf=leaf):
            options = {"granularity": granularity, "distance": distance}
            loss = freekd_loss(leaf, teacher, masks, omega, **options)
            loss.backward()
            return loss.detach(), leaf.grad

        if use_kernels:
            results.append(step())
            assert len(calls) == 2
        else:
            with TorchPath():
                results.append(step())
            assert len(calls) == 2
    for ours, oracle in zip(*results):
        close(ours, oracle, torch.float32)


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("squared", [False, True])
def test_what_is_not_finite_and_zero_in_the_gradient(bad, squared):
    weights = [torch.ones(1, *size) for size in ((2, 2),) * 4]
    student = torch.zeros(1, 2, 4, 4)
    student[0, 1, 0, 0] = float(bad)
    one = torch.tensor(1.0)
    gradient = ops.distance_gradient(
        student, torch.zeros_like(student), weights, None, 1, squared, one
    )
    assert torch.equal(gradient[0, 0], torch.zeros(4, 4))  # sign(0) = 0
    assert not gradient[0, 1, :2, :2].isfinite().any()  # the block of it, and it alone
    assert torch.equal(gradient[0, 1, 2:], torch.zeros(2, 4))
    weights[1][0, 1, 1] = float("nan")
    gradient = ops.distance_gradient(
        student, torch.zeros_like(student), weights, None, 1, squared, one
    )
    assert gradient[0, 0, 2:, 2:].isnan().all()  # of a mask too, where the difference is 0


def test_shapes_that_do_not_belong_together():
    x = torch.zeros(1, 2, 8, 8)
    weights = [torch.ones(1, *band.shape[-2:]) for band in ops.analysis(x, 2)]
    with pytest.raises(ValueError, match="expected weights"):
        ops.distance_value(x, x, weights[::-1], None, 2, False)
    with pytest.raises(ValueError, match="expected a teacher"):
        ops.distance_value(x, x[..., 1:], weights, None, 2, False)
    with pytest.raises(ValueError, match="expected a channel weight"):
        ops.distance_value(x, x, weights, torch.ones(1, 3), 2, False)
    with pytest.raises(ValueError, match="expected a prompt"):
        ops.mask_weights(x, torch.zeros(4, 2, 2), 2)
    with pytest.raises(ValueError, match="expected an offset"):
        ops.mask_weights(x, torch.zeros(7, 2, 2), 2, offset=torch.zeros(7, 3))
    with pytest.raises(ValueError, match="expected bands"):
        ops.synthesis(weights, (9, 8))
    with pytest.raises(ValueError, match="1 to 4 levels"):
        ops.analysis(x, 5)


def test_a_device_is_trusted_only_with_the_right_numbers(monkeypatch):
    cpu = torch.device("cpu")
    assert check.disagreements(cpu) == []
    with torch.autocast("cpu", dtype=torch.bfloat16):  # what the caller is in does not matter
        assert check.trusted.__wrapped__(cpu)
    synthesis = ops.synthesis
    monkeypatch.setattr(ops, "synthesis", lambda *args: synthesis(*args) * 1.01)
    assert check.disagreements(cpu) == ["synthesis"] * 3
    with pytest.warns(RuntimeWarning, match=r"not work on cpu \(synthesis; .*FREEKD_TRITON=0"):
        assert not check.trusted.__wrapped__(cpu)

    def broken(*args):
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(ops, "mask_weights", broken)
    with pytest.warns(RuntimeWarning, match="RuntimeError: no such instruction"):
        assert not check.trusted.__wrapped__(cpu)


@pytest.mark.parametrize("granularity", ["band", "level"])
@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("form", ["signed", "energy", "energy_bias"])
def test_prompts_take_the_kernel_for_their_weights(granularity, distance, form, monkeypatch):
    calls = []
    inner = ops.mask_weights
    monkeypatch.setattr(ops, "mask_weights", lambda *args: (calls.append(1), inner(*args))[1])
    spec = PromptSpec.build(4, 1, 3, granularity=granularity, gate=None, form=form)
    prompts = FrequencyPrompts(spec, init_std=0.5)
    prompts([torch.randn(2, 4, 11, 14)])  # has seen a batch
    prompts.requires_grad_(False)
    feats = [torch.randn(2, 4, 11, 14)]
    found = prompts.weights(feats, distance)[0]
    assert calls
    with TorchPath():
        wanted = prompts.weights(feats, distance)[0]
    assert len(calls) == 1 and len(found) == len(wanted)
    for ours, oracle in zip(found, wanted):
        close(ours, oracle, torch.float32)
