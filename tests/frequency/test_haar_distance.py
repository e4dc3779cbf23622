"""The one-pass distance against the direct formulation of benchmarks/direct.py, every option."""

import pytest
import torch
from direct import direct_gate, direct_level, transform
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from freekd.frequency import WaveletTransform, butterfly, dwt2, idwt2
from freekd.frequency.distance import magnitude
from freekd.gates import position as gate
from freekd.gates.position import PositionGate, channel_relation
from freekd.losses import band_distance as functional
from freekd.losses.align import standardize
from freekd.losses.freekd import freekd_loss
from freekd.prompts.masks import haar_masks, prompt_masks
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
SIZES = st.tuples(st.integers(1, 21), st.integers(1, 21))


def close(found, wanted, relative):
    """To ``relative`` of the largest value."""
    found, wanted = found.detach().double(), wanted.detach().double()
    assert torch.isfinite(found).all()
    assert (found - wanted).abs().max() <= relative * max(float(wanted.abs().max()), 1e-12)


def maps(size, channels, seed, dtype, batch=2):
    gen = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, channels, *size, generator=gen, dtype=torch.float64).to(dtype)
        for _ in range(2)
    ]


def away_from_zero(student, teacher, levels):
    """Whether no coefficient's sign hangs on rounding."""
    bands = dwt2(student.double() - teacher.double(), levels=levels).flat()
    return min(float(band.abs().min()) for band in bands) > 1e-4


def fast(loss):
    """Whether the loss is the one step of the graph that takes no bands."""
    return type(loss.grad_fn).__name__ == "_HaarDistanceBackward"


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    size=SIZES,
    levels=st.integers(1, 4),
    count=st.sampled_from([None, 1, 2, 6]),
    granularity=st.sampled_from(["band", "level"]),
    bands=st.sampled_from(["all", "high", "low"]),
    distance=st.sampled_from(["l1", "l2"]),
    gated=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    channels=st.integers(1, 5),
    batch=st.integers(1, 3),
    chunk=st.sampled_from([1, 4000, 2**21]),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    seed=st.integers(0, 2**20),
)
def test_value_and_gradient_are_those_of_the_direct_formulation(
    size, levels, count, granularity, bands, distance, gated, dtype, channels, batch, chunk,
    layout, seed,
):  # fmt: skip
    student, teacher = maps(size, channels, seed, dtype, batch)
    assume(away_from_zero(student, teacher, levels))
    student = student.contiguous(memory_format=layout).requires_grad_()
    gen = torch.Generator().manual_seed(seed)
    ours = WaveletTransform(levels=levels)
    groups = len(ours.groups(granularity))
    prompt = omega = masks = None
    if count is not None:
        prompt = torch.randn(groups, count, channels, generator=gen).to(dtype)
    if gated:
        omega = torch.rand(batch, channels, generator=gen).to(dtype) * 2
    xfm = transform(levels=levels, dtype=torch.float64)
    exact = student.detach().double().requires_grad_()
    want = direct_level(
        exact, teacher.double(), None if prompt is None else prompt.double(),
        None if omega is None else omega.double(), xfm, granularity, distance, bands,
    )  # fmt: skip
    scale = 3.0  # what comes from above in the graph
    (want_grad,) = torch.autograd.grad(want * scale, exact)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(butterfly, "_CHUNK_BYTES", chunk)
        if prompt is not None:
            masks = haar_masks(prompt, teacher, ours, granularity)
        gate_weight = None if omega is None else omega[:, :, None, None]
        got = freekd_loss(
            student, teacher, masks, gate_weight, ours, granularity, bands, distance
        )  # fmt: skip
        (grad,) = torch.autograd.grad(got * scale, student)
    assert fast(got)
    assert got.dtype == grad.dtype == dtype
    close(got, want, TOLERANCE[dtype])
    close(grad, want_grad, TOLERANCE[dtype])


@settings(max_examples=40, deadline=None)
@given(
    size=SIZES,
    levels=st.integers(1, 4),
    granularity=st.sampled_from(["band", "level"]),
    count=st.integers(1, 3),
    seed=st.integers(0, 2**20),
)
def test_masks_projected_first_are_those_of_the_bands(size, levels, granularity, count, seed):
    feat, _ = maps(size, 5, seed, torch.float64)
    ours = WaveletTransform(levels=levels)
    prompt = torch.randn(len(ours.groups(granularity)), count, 5, dtype=torch.float64)
    want = prompt_masks(prompt, ours.analyse(feat), ours, granularity)
    for mask, expected in zip(haar_masks(prompt, feat, ours, granularity), want):
        torch.testing.assert_close(mask, expected, rtol=1e-12, atol=1e-13)


@settings(max_examples=30, deadline=None)
@given(fine=SIZES, coarse=SIZES, doubled=st.booleans(), seed=st.integers(0, 2**20))
def test_relation_on_the_coarser_map_is_that_of_the_resized_one(fine, coarse, doubled, seed):
    fine = (2 * coarse[0], 2 * coarse[1]) if doubled else fine
    feat, _ = maps(fine, 4, seed, torch.float32)
    context, _ = maps(coarse, 4, seed + 1, torch.float32)
    assert gate._adjoint_pays(feat, context) == (coarse[0] * coarse[1] < fine[0] * fine[1])
    want = channel_relation(feat.clone().requires_grad_(), context)  # learning: resizes
    torch.testing.assert_close(channel_relation(feat, context), want.detach(), rtol=1e-5, atol=1e-6)


def test_gate_is_the_direct_one():
    feats = [maps(size, 6, i, torch.float32)[0] for i, size in enumerate(((13, 9), (7, 5)))]
    module = PositionGate([6, 6])
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    with torch.no_grad():
        for got, want in zip(module(feats), direct_gate(feats, module.mlps)):
            assert got.std() > 0.01  # it says something
            torch.testing.assert_close(got[:, :, 0, 0], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_maps_are_read_as_they_are_and_computed_in_float32(dtype):
    student, teacher = maps((13, 10), 4, 0, dtype)
    masks = haar_masks(torch.randn(10, 2, 4), teacher)
    assert masks[0].dtype == torch.float32
    low = student.clone().requires_grad_()
    wide = student.float().requires_grad_()
    got, want = freekd_loss(low, teacher, masks), freekd_loss(wide, teacher.float(), masks)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want, rtol=0, atol=0)
    # a loss scale of 2^14 comes in before the gradient is rounded: nothing underflows
    (grad,) = torch.autograd.grad(got * 2.0**14, low)
    (want_grad,) = torch.autograd.grad(want * 2.0**14, wide)
    assert grad.dtype == dtype
    torch.testing.assert_close(grad, want_grad.to(dtype), rtol=0, atol=0)
    assert fast(got) and fast(want)


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_a_kept_graph_can_be_run_backward_again(distance):
    student, teacher = maps((9, 12), 3, 1, torch.float64)
    student.requires_grad_()
    loss = freekd_loss(student, teacher, distance=distance)
    (first,) = torch.autograd.grad(loss, student, retain_graph=True)
    kept = first.clone()
    (second,) = torch.autograd.grad(2 * loss, student)
    torch.testing.assert_close(second, 2 * kept, rtol=1e-14, atol=0)
    torch.testing.assert_close(first, kept, rtol=0, atol=0)


@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("size", [(8, 8), (5, 7)])
def test_second_derivatives(distance, size):
    student, teacher = maps(size, 2, 2, torch.float64)
    assert away_from_zero(student, teacher, 2)
    ours = WaveletTransform(levels=2)
    masks = haar_masks(torch.randn(7, 2, 2, dtype=torch.float64), teacher, ours)
    omega = torch.rand(2, 2, 1, 1, dtype=torch.float64)

    def loss(x):
        return freekd_loss(x, teacher, masks, omega, ours, distance=distance)

    assert torch.autograd.gradcheck(loss, student.requires_grad_())
    assert torch.autograd.gradgradcheck(loss, student)
    assert fast(loss(student))


def general(monkeypatch):
    """The way that other wavelets take, for any."""
    monkeypatch.setattr(functional, "can_fuse", lambda *tensors: False)


@pytest.mark.parametrize("options", [dict(wavelet="db2"), dict(mode="symmetric")])
def test_other_wavelets_and_modes_take_the_general_way(options):
    student, teacher = maps((9, 12), 3, 3, torch.float64)
    student.requires_grad_()
    ours = WaveletTransform(**options)
    masks = prompt_masks(torch.randn(10, 2, 3, dtype=torch.float64), ours.analyse(teacher), ours)
    got = freekd_loss(student, teacher, masks, transform=ours)
    xfm = transform(ours.wavelet, 3, ours.mode, torch.float64)
    want = sum(
        (m[:, :, None] * (a - b)[:, None]).abs().mean()
        for m, a, b in zip(masks, _flat(xfm(teacher)), _flat(xfm(student)))
    )
    close(got, want, 1e-10)
    # pytorch_wavelets' own gradient of 'symmetric' is not its forward's: finite differences instead
    assert torch.autograd.gradcheck(
        lambda x: freekd_loss(x, teacher, masks, transform=ours), student
    )
    assert not fast(got)


def _flat(bands):
    low, highs = bands
    return [low, *(high[:, :, o] for high in highs for o in range(3))]


def test_an_even_size_is_the_same_in_every_mode_and_takes_the_fast_way():
    student, teacher = maps((16, 8), 3, 4, torch.float64)
    student.requires_grad_()
    want = freekd_loss(student, teacher)
    got = freekd_loss(student, teacher, transform=dict(type="haar", mode="symmetric"))
    torch.testing.assert_close(got, want, rtol=0, atol=0)
    assert fast(got) and fast(want)


def test_masks_and_weights_that_learn_take_the_general_way():
    student, teacher = maps((9, 12), 3, 5, torch.float64)
    student.requires_grad_()
    bands = dwt2(teacher)
    prompt = torch.randn(10, 2, 3, dtype=torch.float64, requires_grad=True)
    omega = torch.rand(2, 3, 1, 1, dtype=torch.float64, requires_grad=True)
    loss = freekd_loss(student, teacher, prompt_masks(prompt, bands), omega)
    grads = torch.autograd.grad(loss, (prompt, omega))
    assert not fast(loss) and all(float(grad.abs().max()) > 0 for grad in grads)
    constant = freekd_loss(student, teacher, prompt_masks(prompt.detach(), bands), omega.detach())
    torch.testing.assert_close(constant, loss)
    assert fast(constant)


def test_fast_and_general_way_agree_through_masks_of_one_row(monkeypatch):
    student, teacher = maps((9, 12), 3, 6, torch.float64)
    masks = [mask[:1] for mask in prompt_masks(torch.randn(10, 2, 3).double(), dwt2(teacher))]
    fast = freekd_loss(student, teacher, masks)
    general(monkeypatch)
    torch.testing.assert_close(freekd_loss(student, teacher, masks), fast, rtol=1e-12, atol=0)


class Made(TorchDispatchMode):
    """The sizes in bytes of the tensors that are made, views left out."""

    def __init__(self, *known):
        super().__init__()
        self.places = {x.untyped_storage().data_ptr() for x in known}
        self.sizes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, (tuple, list)) else [out]:
            if torch.is_tensor(x) and x.untyped_storage().data_ptr() not in self.places:
                self.sizes.append(x.untyped_storage().nbytes())
        return out


def test_no_gradient_goes_to_the_teacher_and_none_is_made_without_need(monkeypatch):
    monkeypatch.setattr(butterfly, "_CHUNK_BYTES", 1)  # one map at a time
    student, teacher = maps((9, 12), 8, 7, torch.float32)
    whole = student.numel() * 4
    teacher.requires_grad_()
    with Made(student, teacher) as made:
        loss = freekd_loss(student, teacher)
    assert not loss.requires_grad and max(made.sizes) < whole
    with Made(student, teacher) as made:
        freekd_loss(student.requires_grad_(), teacher).backward()
    assert max(made.sizes) == whole
    assert teacher.grad is None and student.grad is not None


def test_masks_of_another_size_are_refused():
    student, teacher = maps((16, 16), 3, 8, torch.float32)
    masks = prompt_masks(torch.randn(10, 2, 3), dwt2(maps((8, 8), 3, 8, torch.float32)[0]))
    with pytest.raises(ValueError, match=r"mask of LL3 .*\(2, 1, 1\).*\(2, 2, 2\)"):
        freekd_loss(student, teacher, masks)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standardised_channels(dtype):
    feat = (
        maps((9, 12), 3, 9, dtype)[0] * torch.tensor([1e-3, 1.0, 1e3], dtype=dtype)[:, None, None]
    )
    feat = feat + 5
    feat.requires_grad_()
    exact = feat.detach().double().requires_grad_()
    mean = exact.mean((0, 2, 3), keepdim=True)
    var = ((exact - mean) ** 2).mean((0, 2, 3), keepdim=True)
    want = (exact - mean) / (var + 1e-6).sqrt()
    weight = torch.randn(want.shape, dtype=torch.float64)
    relative = 2e-3 if dtype == torch.float32 else 1e-9  # 1e-3 beside 5 is 4 digits of float32
    close(standardize(feat), want, relative)
    (grad,) = torch.autograd.grad((standardize(feat) * weight.to(dtype)).sum(), feat)
    (want_grad,) = torch.autograd.grad((want * weight).sum(), exact)
    close(grad, want_grad, relative)


def test_one_position_can_be_standardised():
    assert standardize(torch.full((1, 2, 1, 1), 3.0)).tolist() == [[[[0.0]], [[0.0]]]]


def test_weights_are_the_mean_masks():
    feats = [maps((9, 12), 4, 10, torch.float32)[0]]
    prompts = FrequencyPrompts(PromptSpec.build(4, 1, 3, gate=None), init_std=0.5)
    for distance, power in (("l1", 1), ("l2", 2)):
        for got, mask in zip(prompts.weights(feats, distance)[0], prompts.masks(feats)[0]):
            assert not got.requires_grad and mask.requires_grad
            torch.testing.assert_close(got, (mask**power).mean(1))


def test_an_empty_batch_is_no_loss():
    empty = torch.zeros(0, 3, 8, 8, requires_grad=True)
    loss = freekd_loss(empty, torch.zeros(0, 3, 8, 8))
    loss.backward()
    assert loss.item() == 0 and empty.grad.shape == empty.shape


def test_maps_of_different_types():
    student, teacher = maps((9, 12), 3, 11, torch.float64)
    leaf = student.float().requires_grad_()
    got = freekd_loss(leaf, teacher)
    assert got.dtype == torch.float64
    close(got, direct_level(leaf.detach().double(), teacher, None, xfm=_exact()), 1e-10)
    (grad,) = torch.autograd.grad(got, leaf)
    assert grad.dtype == torch.float32
    half = freekd_loss(student.float(), teacher.half())
    close(half, freekd_loss(student.float(), teacher.half().float()), 0)


def _exact(levels=3):
    return transform(levels=levels, dtype=torch.float64)


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_long_sums_keep_their_digits(distance):
    """A map of a megapixel with an offset: one running sum in float32 is off by 4e-5."""
    gen = torch.Generator().manual_seed(0)
    student = torch.randn(1, 1, 1024, 1024, generator=gen) + 3
    teacher = torch.zeros_like(student)
    want = direct_level(student.double(), teacher.double(), None, xfm=_exact(), distance=distance)
    close(freekd_loss(student, teacher, distance=distance), want, 2e-6)


def test_features_of_inference_mode():
    student, teacher = maps((9, 12), 3, 12, torch.float32)
    want = freekd_loss(student, teacher)
    with torch.inference_mode():
        teacher, prompt = teacher * 1, torch.randn(10, 2, 3)
        masks = haar_masks(prompt, teacher)
        omega = torch.ones(2, 3, 1, 1)
    leaf = student.requires_grad_()
    loss = freekd_loss(leaf, teacher)
    loss.backward()
    torch.testing.assert_close(loss, want)
    freekd_loss(leaf, teacher, masks, omega).backward()


def test_maps_may_be_reused_before_the_backward_pass():
    student, teacher = maps((9, 12), 3, 13, torch.float32)
    student.requires_grad_()
    (want,) = torch.autograd.grad(freekd_loss(student, teacher), student)
    loss = freekd_loss(student, teacher)
    teacher.zero_()  # a buffer of the next batch, say
    (got,) = torch.autograd.grad(loss, student)
    torch.testing.assert_close(got, want, rtol=0, atol=0)


@pytest.mark.parametrize("create_graph", [False, True])
def test_hooks_on_the_students_map_run_once(create_graph):
    leaf, teacher = maps((9, 12), 3, 14, torch.float64)
    calls = []

    def gradient(hook):
        weight = leaf.clone().requires_grad_()
        student = weight * 1
        student.retain_grad()
        if hook:
            student.register_hook(lambda grad: (calls.append(1), 10 * grad)[1])
        loss = freekd_loss(student, teacher, distance="l2")
        torch.autograd.backward(loss, inputs=[weight, student], create_graph=create_graph)
        return weight.grad.detach(), student.grad.detach()

    plain, hooked = gradient(False), gradient(True)
    assert len(calls) == 1
    torch.testing.assert_close(hooked[0], 10 * plain[0], rtol=1e-14, atol=0)
    torch.testing.assert_close(plain[0], plain[1], rtol=1e-14, atol=0)


def test_inf_stays_inf_and_nan_nan():
    student, teacher = maps((8, 8), 2, 15, torch.float32)
    student[0, 0, 3, 3] = float("inf")
    assert float(freekd_loss(student, teacher)) == float("inf")
    student[0, 0, 3, 3] = float("nan")
    assert freekd_loss(student, teacher).isnan()


WAYS = {
    "fast": {},
    "fast, odd": dict(size=(9, 13)),
    "level, masks": dict(count=2, granularity="level"),
    "masks, gate": dict(count=2, gated=True),
    "high bands": dict(bands="high"),
    "low band": dict(bands="low"),
    "float16": dict(dtype=torch.float16),
    "bfloat16, masks": dict(dtype=torch.bfloat16, count=1),
    "float64": dict(dtype=torch.float64),
    "second backward": dict(backward="again"),
    "create_graph": dict(backward="graph"),
    "other wavelet": dict(transform=WaveletTransform("db2"), count=2),
    "other mode": dict(size=(9, 13), transform=WaveletTransform(mode="symmetric")),
    "weights learn": dict(learning=True),
}


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("chunk", [1, 2**21])
@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("whose", ["teacher", "student"])
def test_what_is_not_finite_reaches_the_gradient(way, distance, chunk, bad, whose, monkeypatch):
    """Of the image where it is, on every way; the other image's gradient is as without it."""
    monkeypatch.setattr(butterfly, "_CHUNK_BYTES", chunk)
    options = dict(WAYS[way], distance=distance)
    clean, value = _gradient(None, whose, **options)
    found, value_with = _gradient(float(bad), whose, **options)
    assert torch.isfinite(clean).all() and torch.isfinite(value) and clean.abs().max() > 0
    assert not torch.isfinite(value_with) and not torch.isfinite(found[0]).all()
    torch.testing.assert_close(found[1], clean[1])


def _gradient(
    bad, whose, size=(8, 16), dtype=torch.float32, count=None, gated=False, learning=False,
    backward="once", **options,
):  # fmt: skip
    """The student's gradient, and the loss, with ``bad`` at one place of the first image."""
    student, teacher = maps(size, 3, 17, dtype)
    if bad is not None:
        (teacher if whose == "teacher" else student)[0, 1, 2, 5] = bad
    student.requires_grad_()
    omega = masks = None
    if gated:
        coarse = [feat.float()[..., ::2, ::2] for feat in (teacher,)]
        module = PositionGate([3, 3])
        for parameter in module.parameters():
            torch.nn.init.ones_(parameter)
        omega = module([teacher.float(), *coarse])[0].detach()
    if count is not None:
        granularity = options.get("granularity", "band")
        gen = torch.Generator().manual_seed(18)
        ours = options.get("transform", WaveletTransform())
        prompt = torch.randn(len(ours.groups(granularity)), count, 3, generator=gen)
        bands = ours.analyse(teacher)
        masks = prompt_masks(prompt.to(bands.low.dtype), bands, ours, granularity)
    if learning:
        omega = torch.ones(2, 3, 1, 1, requires_grad=True)
    loss = freekd_loss(student, teacher, masks, omega, **options)
    if backward == "again":
        torch.autograd.grad(loss, student, retain_graph=True)
    (grad,) = torch.autograd.grad(loss, student, create_graph=backward == "graph")
    assert grad.dtype == dtype
    return grad.detach(), loss.detach()


def test_slope_of_the_magnitude():
    """sign(x), 0 at 0, NaN where x is not finite; its own derivative is 0."""
    x = torch.tensor([2.0, -3.0, 0.0, float("nan"), float("inf")], requires_grad=True)
    size = magnitude(x)
    assert size[:3].tolist() == [2.0, 3.0, 0.0]
    (slope,) = torch.autograd.grad(size.sum(), x, create_graph=True)
    assert slope[:3].tolist() == [1.0, -1.0, 0.0] and slope[3:].isnan().all()
    finite = torch.tensor([2.0, -3.0, 0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(magnitude, finite)
    assert torch.autograd.gradgradcheck(magnitude, finite)


def test_bands_may_be_edited_in_place():
    x, _ = maps((9, 12), 2, 16, torch.float64)
    x.requires_grad_()
    bands = dwt2(x)
    bands.low.mul_(2)
    want = x.detach() + idwt2(dwt2(x.detach())._replace(details=_zeros(bands)), size=(9, 12))
    torch.testing.assert_close(idwt2(bands, size=(9, 12)).detach(), want)


def _zeros(bands):
    return tuple(
        type(level)(*(torch.zeros_like(band) for band in level)) for level in bands.details
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(transform=dict(type="haar", mode="nonsense")), "transform.mode='nonsense'"),
        (dict(transform=dict(type="haar", levels=0)), "transform.levels must be .* 16, got 0"),
        (dict(student=torch.zeros(3, 8, 8), teacher=torch.zeros(3, 8, 8)), "N, C, H, W"),
        (dict(student=torch.zeros(1, 3, 0, 8), teacher=torch.zeros(1, 3, 0, 8)), "at least 1x1"),
        (dict(gate_weight=torch.ones(2, 4, 1, 1)), r"\(2, 4, 1, 1\); for maps \(2, 3, 8, 8\)"),
        (dict(gate_weight=torch.ones(2, 3)), r"\(2, 3\); for maps .*expected \(N, C, 1, 1\)"),
        (dict(gate_weight=torch.ones(2, 3, 8, 1)), r"\(2, 3, 8, 1\); for maps"),
        (dict(transform="nonsense"), "transform.type='nonsense'"),
    ],
)
def test_bad_input_is_refused(change, words):
    student, teacher = maps((8, 8), 3, 17, torch.float32)
    with pytest.raises(ValueError, match=words):
        freekd_loss(**{"student": student, "teacher": teacher, **change})


@pytest.mark.parametrize(
    ("groups", "channels", "options"),
    [
        (10, 4, dict(transform=WaveletTransform(levels=2))),
        (10, 4, dict(granularity="level")),
        (4, 4, {}),
        (10, 5, {}),
        (10, 4, dict(granularity="nonsense")),
    ],
)
def test_masks_refuse_a_foreign_prompt(groups, channels, options):
    feat = maps((8, 8), 4, 18, torch.float32)[0]
    with pytest.raises(ValueError, match="and a prompt|granularity='nonsense'"):
        haar_masks(torch.zeros(groups, 2, channels), feat, **options)
