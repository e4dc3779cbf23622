"""The losses against hand arithmetic, the direct formulation, and degenerate cases."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from freekd.frequency import WaveletTransform, build_transform, dwt2
from freekd.losses import band_distance as module
from freekd.losses.align import align_size, standardize
from freekd.losses.band_distance import weighted_distance
from freekd.losses.freekd import freekd_loss
from freekd.prompts.dissimilarity import dissimilarity
from freekd.prompts.masks import gate_weights, mask_weight, prompt_masks


def maps(size=(9, 12), channels=4, seed=0, dtype=torch.float64):
    gen = torch.Generator().manual_seed(seed)
    return torch.randn(2, channels, *size, generator=gen, dtype=dtype)


def direct_loss(student, teacher, masks, omega, levels, granularity, bands, distance):
    """Eq. 13 as it is written: T masked copies of each band of both maps."""
    a_bands, b_bands = dwt2(teacher, levels=levels).flat(), dwt2(student, levels=levels).flat()
    groups = list(enumerate(WaveletTransform(levels=levels).groups(granularity)))
    groups = {"all": groups, "high": groups[1:], "low": groups[:1]}[bands]
    total = 0
    for k, (_, members, _) in groups:
        a = torch.stack([a_bands[i] for i in members], dim=2)  # (N, C, 1 or 3, h, w)
        b = torch.stack([b_bands[i] for i in members], dim=2)
        m = masks[k][:, :, None, None]  # (N, T, 1, 1, h, w)
        difference = m * a[:, None] - m * b[:, None]
        distances = difference.abs() if distance == "l1" else difference**2
        total = total + (distances * omega[:, None, :, None, None, None]).mean()
    return total


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    levels=st.integers(1, 3),
    count=st.sampled_from([1, 2, 6]),
    granularity=st.sampled_from(["band", "level"]),
    bands=st.sampled_from(["all", "high", "low"]),
    distance=st.sampled_from(["l1", "l2"]),
)
def test_equals_the_direct_formulation(size, levels, count, granularity, bands, distance):
    student, teacher = maps(size, seed=1).requires_grad_(), maps(size, seed=2)
    transform = WaveletTransform(levels=levels)
    prompt = torch.randn(len(transform.groups(granularity)), count, 4, dtype=torch.float64)
    omega = torch.rand(2, 4, dtype=torch.float64) * 2
    masks = prompt_masks(prompt, transform.analyse(teacher), transform, granularity)
    want = direct_loss(student, teacher, masks, omega, levels, granularity, bands, distance)
    weight = omega[:, :, None, None]
    got = freekd_loss(
        student, teacher, masks, weight, transform, granularity, bands, distance
    )  # fmt: skip
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
    grads = [torch.autograd.grad(loss, student)[0] for loss in (got, want)]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("normalize", [None, "channel"])
@pytest.mark.parametrize("shape", [None, (2, 4, 1, 1), (2, 1, 9, 12), (1, 4, 9, 12), (1, 1, 1, 1)])
@pytest.mark.parametrize(
    "transform", ["haar", "db2", "dct", dict(type="dct", block=8), "dft"], ids=str
)
def test_channels_at_a_time_are_the_whole(transform, shape, normalize, monkeypatch):
    """Against bands, weights and statistics of whole maps."""
    monkeypatch.setattr(module, "channels_at_a_time", lambda feat, *_, **__: 3)
    student, teacher = maps(seed=1).requires_grad_(), maps(seed=2)
    xi = build_transform(transform)
    masks = [torch.rand(2, *size).double() for size in xi.sizes((9, 12))]
    groups = xi.groups()
    omega = None if shape is None else torch.rand(shape, dtype=torch.float64)
    got = weighted_distance(
        student, teacher, [masks[g.members[0]] for g in groups], omega, xi, normalize=normalize
    )
    s, t = (student, teacher) if normalize is None else map(standardize, (student, teacher))
    places = None if omega is None else gate_weights(omega, xi)
    want = 0
    for group in groups:
        mask, apart = masks[group.members[0]][:, None], []
        for k in group.members:
            band = (xi.analyse(s).flat()[k] - xi.analyse(t).flat()[k]).abs() * mask
            apart.append(band if places is None else band * places[k])
        want = want + torch.stack(apart).mean()
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
    grads = [torch.autograd.grad(loss, student)[0] for loss in (got, want)]
    torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("transform", ["haar", "dct", dict(type="dct", block=8), "dft"], ids=str)
@pytest.mark.parametrize("normalize", [None, "channel"])
def test_average_of_the_map_is_its_mean_squared_difference(transform, normalize):
    student, teacher = maps((16, 24), seed=1).requires_grad_(), maps((16, 24), seed=2)
    sides = [standardize(x) for x in (student, teacher)] if normalize else [student, teacher]
    want = torch.nn.functional.mse_loss(*sides)  # Parseval
    options = dict(transform=transform, distance="l2", normalize=normalize, average="map")
    got = weighted_distance(student, teacher, **options)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
    grads = [torch.autograd.grad(loss, student)[0] for loss in (got, want)]
    torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("average", ["band", "map"])
def test_no_images_are_no_loss(average):
    """As of a head that had no proposals."""
    assert float(freekd_loss(*(torch.zeros(0, 3, 8, 8),) * 2, average=average)) == 0


def test_average_of_the_map_weighs_bands_by_their_size():
    student, teacher = maps((8, 8), seed=1), maps((8, 8), seed=2)
    transform = WaveletTransform(levels=1)
    groups = transform.groups("band")
    total = 0
    for k in range(4):  # the weight of one band alone
        masks = [torch.full((2, 1, 4, 4), float(i == k)).double() for i in range(len(groups))]
        alone = freekd_loss(student, teacher, masks, transform=transform)
        mapped = freekd_loss(student, teacher, masks, transform=transform, average="map")
        assert mapped == pytest.approx(float(alone) / 4)  # a quarter of the map's values
        total += mapped
    every = freekd_loss(student, teacher, transform=transform, average="map")
    assert total == pytest.approx(float(every))


def test_ones_as_masks_and_gate_are_no_masks_and_no_gate():
    student, teacher = maps(seed=1), maps(seed=2)
    ones = [torch.ones_like(band[:, :2]) for band in dwt2(teacher).flat()]
    plain = freekd_loss(student, teacher)
    assert torch.equal(freekd_loss(student, teacher, ones), plain)
    for shape in ((2, 4, 1, 1), (2, 1, 9, 12), (1, 1, 9, 12), (2, 4, 9, 12), (1, 1, 1, 1)):
        got = freekd_loss(student, teacher, None, torch.ones(shape).double())
        torch.testing.assert_close(got, plain, rtol=1e-14, atol=0)
    assert torch.equal(freekd_loss(student, teacher, None, torch.ones(2, 4, 1, 1).double()), plain)
    halves = [mask / 2 for mask in ones]
    torch.testing.assert_close(freekd_loss(student, teacher, halves), plain / 2)


def test_identical_features_give_zero():
    feat = maps().requires_grad_()
    loss = freekd_loss(feat, feat.detach().clone())
    assert float(loss.detach()) == 0
    loss.backward()
    assert float(feat.grad.abs().max()) == 0


def test_by_hand():
    # one level of Haar of a 2x2 block [[1, 2], [3, 4]]: bands 5, -2, -1, 0; L1 to zero, each band
    # the mean over its single coefficient: 5 + 2 + 1 + 0 = 8. Squared: 25 + 4 + 1 = 30.
    teacher = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    zero = torch.zeros_like(teacher)

    def loss(**options):
        return float(freekd_loss(zero, teacher, transform=WaveletTransform(levels=1), **options))

    assert loss() == 8
    assert loss(distance="l2") == 30
    assert loss(bands="low") == 5
    assert loss(bands="high") == 3
    # granularity level: the mean over the three orientations, (2 + 1 + 0) / 3
    assert loss(bands="high", granularity="level") == 1


def test_mask_weight_by_hand():
    masks = torch.tensor([0.2, 0.8]).view(1, 2, 1, 1)
    assert float(mask_weight(masks)) == pytest.approx(0.5)
    assert float(mask_weight(masks, "l2")) == pytest.approx((0.04 + 0.64) / 2)


def test_no_gradient_into_the_teacher_or_through_masks():
    student, teacher = maps(seed=1).requires_grad_(), maps(seed=2).requires_grad_()
    freekd_loss(student, teacher).backward()
    assert student.grad is not None and teacher.grad is None


def test_half_precision_computes_in_float32():
    student, teacher = maps(seed=1, dtype=torch.float32), maps(seed=2, dtype=torch.float32)
    want = freekd_loss(student.half().float(), teacher.half().float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = freekd_loss(student.half(), teacher.half())
    assert got.dtype == torch.float32 and torch.equal(got, want)
    large = torch.full((1, 1, 8, 8), 60000.0).half()  # LL would be 8 x 60000, beyond float16
    # a constant map lives in LL_3 alone, 2^3 times its value
    assert float(freekd_loss(torch.zeros_like(large), large)) == 8 * float(large[0, 0, 0, 0])


def test_jaccard_by_hand():
    # m = (1, 0), n = (1, 1): sum mn = 1, m.m = 1, n.n = 2 -> 1 / (1 + 2 - 1) = 1/2;
    # over all pairs (1 + 1/2 + 1/2 + 1) / 4 = 3/4
    masks = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).view(1, 2, 1, 2)
    assert float(dissimilarity(masks)) == pytest.approx(0.75)
    # Dice: 2 / (1 + 2) = 2/3 for both pairs i != j
    assert float(dissimilarity(masks, "dice")) == pytest.approx(2 / 3)


def test_dissimilarity_bounds():
    same = torch.rand(2, 1, 5, 5).expand(2, 3, 5, 5)
    assert float(dissimilarity(same)) == pytest.approx(1)
    disjoint = torch.eye(4).view(1, 4, 2, 2)  # four masks without a common pixel
    assert float(dissimilarity(disjoint)) == pytest.approx(1 / 4)
    assert float(dissimilarity(disjoint, "dice")) == pytest.approx(0)
    assert float(dissimilarity(torch.rand(2, 1, 4, 4), "dice")) == 0  # T = 1: no pairs
    assert torch.isfinite(dissimilarity(torch.zeros(1, 2, 4, 4)))


def test_dissimilarity_is_a_mean_over_the_batch():
    masks = torch.rand(3, 2, 4, 4)
    each = torch.stack([dissimilarity(mask[None]) for mask in masks])
    torch.testing.assert_close(dissimilarity(masks), each.mean())


@pytest.mark.parametrize("kind", ["jaccard", "dice"])
def test_dissimilarity_gradcheck(kind):
    masks = (torch.rand(2, 3, 2, 2, dtype=torch.float64) + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: dissimilarity(m, kind), (masks,))


def test_standardize():
    feat = maps(size=(5, 7)) * 3 + 2
    out = standardize(feat)
    torch.testing.assert_close(out.mean(dim=(0, 2, 3)), torch.zeros(4).double(), rtol=0, atol=1e-9)
    var = out.var(dim=(0, 2, 3), unbiased=False)
    torch.testing.assert_close(var, torch.ones(4).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(standardize(feat * 7 - 3), out, rtol=0, atol=1e-5)  # scale-free
    assert float(standardize(torch.full((1, 2, 1, 1), 5.0)).abs().max()) == 0  # 1x1: no NaN


def test_align_size():
    feat = maps(size=(4, 6))
    assert align_size(feat, (4, 6)) is feat
    constant = torch.full((1, 2, 3, 5), 2.5)
    torch.testing.assert_close(align_size(constant, (6, 9)), torch.full((1, 2, 6, 9), 2.5))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s, t: freekd_loss(s, t[:, :2]), ["(2, 4, 9, 12)", "(2, 2, 9, 12)"]),
        (lambda s, t: freekd_loss(s, t, bands="hi"), ["bands='hi'", "'high'"]),
        (lambda s, t: freekd_loss(s, t, granularity="bands"), ["granularity='bands'", "'level'"]),
        (lambda s, t: freekd_loss(s, t, distance="l3"), ["distance='l3'", "'l2'"]),
        (lambda s, t: freekd_loss(s, t, [t]), ["10 groups", "got 1"]),
        (lambda s, t: dissimilarity(s, "iou"), ["'iou'", "'jaccard'"]),
    ],
)
def test_errors_name_key_and_values(call, words):
    with pytest.raises(ValueError) as error:
        call(maps(seed=1), maps(seed=2))
    for word in words:
        assert word in str(error.value)
