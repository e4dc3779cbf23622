"""What the losses on levels share: parts against autograd's whole, memory, precisions, errors."""

from pathlib import Path

import pytest
import torch

from freekd.checks import FeatureError
from freekd.losses import cards, parts
from freekd.losses.domain import Domain
from freekd.losses.step import Step
from freekd.prompts.file import save_prompts
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
KINDS = {
    "imitation": ("FeatureMSELoss", dict(align="auto")),
    "imitation_conv": ("FeatureMSELoss", {}),
    "divergence": ("CWDLoss", dict(tau=2.0)),
    "divergence_bands": ("CWDLoss", dict(domain="frequency")),
    "correlation": ("PKDLoss", {}),
    "correlation_bands": ("PKDLoss", dict(domain="frequency", bands="all")),
    "generated": ("MGDLoss", dict(loss_weight=0.01)),
    "generated_channels": ("MGDLoss", dict(loss_weight=0.01, mask="channel")),
    "focal": ("FGDLoss", dict(alpha=0.01, beta=0.02, gamma=0.03, lambda_global=0.04)),
}
TRANSFORMS = ["haar", "dct", dict(type="dct", block=8), "dft"]
CLASSES = {card.module.__name__: card.module for card in cards().values() if card.module}
every = pytest.mark.parametrize("kind", list(KINDS))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def make(kind, channels=3, teacher_channels=None, levels=1):
    name, options = KINDS.get(kind, (kind, {}))
    torch.manual_seed(0)
    loss = CLASSES[name](channels, teacher_channels or channels, levels, **options)
    for context in loss.modules():  # what begins at 0 would hide a wrong gradient
        for parameter in context.parameters(recurse=False):
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.3)
    return loss


def apply(loss, student, teacher):
    """With the same mask each time, and a box or none for each image."""
    torch.manual_seed(1)
    if type(loss).__name__ != "FGDLoss":
        return loss(student, teacher)
    first = student if torch.is_tensor(student) else student[0]
    height, width = (8 * side for side in first.shape[-2:])
    boxes = [torch.tensor([[0.0, 0.0, width / 2, height / 3]]), torch.zeros(0, 4)]
    data = dict(
        img=torch.zeros(()).expand(len(first), 3, height, width), gt_bboxes=boxes[: len(first)]
    )
    return loss(student, teacher, step=Step(data, torch.nn.Identity()))


def maps(*size, dtype=torch.float32):
    return torch.randn(*size, dtype=dtype), torch.randn(*size, dtype=dtype)


# --------------------------------------------------------------------------- values and gradients
@every
def test_parts_are_the_whole(kind, monkeypatch):
    """Against autograd on the whole map, as a GPU does it; in float64."""
    loss, (student, teacher) = make(kind, 5).double(), maps(2, 5, 19, 11, dtype=torch.float64)
    found = []
    for whole in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(parts, "PART_BYTES", 8 * 2 * 19 * 11)  # a channel
            if whole:
                sums = lambda f, s, axis, slices, p=(): f(slice(0, s.shape[axis]), s)  # noqa: E731
                patch.setattr(parts, "sum_over_parts", sums)
                patch.setattr(parts, "channels_at_a_time", lambda feat: feat.shape[1])
                patch.setattr("freekd.losses.fgd.channels_at_a_time", lambda feat: feat.shape[1])
                patch.setattr("freekd.losses.fgd.again", lambda function, *args: function(*args))
                patch.setattr("freekd.losses.mgd.parts", lambda count, step: [slice(0, count)])
                patch.setattr("freekd.losses.mgd.sum_over_parts", sums)
            leaf = student.clone().requires_grad_()
            value = apply(loss, leaf, teacher)
            learned = list(loss.parameters())
            found.append([value, *torch.autograd.grad(value, [leaf, *learned])])
    for mine, expected in zip(*found):
        assert torch.allclose(mine, expected, rtol=1e-10, atol=1e-13)
    assert found[0][0] > 0 and found[0][1].abs().max() > 0


@every
def test_gradients_by_finite_differences(kind):
    loss, (student, teacher) = make(kind, 2).double(), maps(2, 2, 9, 3, dtype=torch.float64)
    teacher.requires_grad_()
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: apply(loss, x, teacher), student, fast_mode=True)
    apply(loss, student, teacher).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("kind", ["imitation", "divergence_bands", "correlation", "generated"])
def test_second_derivatives(kind):
    loss, (student, teacher) = make(kind, 2).double(), maps(2, 2, 4, 3, dtype=torch.float64)
    student.requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: apply(loss, x, teacher), student, fast_mode=True)


@every
def test_a_retained_graph_gives_the_gradient_again(kind):
    loss, (student, teacher) = make(kind), maps(2, 3, 9, 8)
    value = apply(loss, student.requires_grad_(), teacher)
    first = torch.autograd.grad(value, student, retain_graph=True)[0].clone()
    again = torch.autograd.grad(3 * value, student)[0]
    assert torch.allclose(again, 3 * first, rtol=1e-5, atol=1e-8)


@every
def test_without_gradient(kind):
    loss, (student, teacher) = make(kind), maps(2, 3, 9, 8)
    with torch.no_grad():
        value = apply(loss, student, teacher)
    assert not value.requires_grad
    wanted = apply(loss, student.clone().requires_grad_(), teacher)
    assert torch.allclose(value, wanted.detach(), rtol=1e-6)
    if list(loss.parameters()):  # a frozen student: what the loss owns learns all the same
        apply(loss, student, teacher).backward()
        assert all(parameter.grad is not None for parameter in loss.parameters())


# --------------------------------------------------------------------------- cost
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("kind", [*KINDS, "FourierKDLoss"])
def test_at_most_four_copies_of_the_maps(kind, layout, monkeypatch):
    """Issue 11, 9: what forward and backward hold beside the maps, the gradient included."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from measure import peak_bytes

    loss, feats = make(kind, 32), maps(2, 32, 100, 84)
    student, teacher = (x.to(memory_format=layout) for x in feats)
    student.requires_grad_()

    def step():
        student.grad = None
        loss.zero_grad()
        apply(loss, student, teacher).backward()

    step()
    held = peak_bytes(step, "cpu", lambda: setattr(student, "grad", None))
    # the profiler sees, beside what lives at one time, at least the gradient
    assert 1 <= held / (student.numel() * 4) <= 4


@pytest.mark.parametrize(
    ("gate", "normalize"),
    [(None, None), ("cbam", None), ("nonlocal", None), ("nonlocal", "channel")],
)
@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_at_most_four_copies_of_the_maps_by_transform_and_gate(
    transform, gate, normalize, monkeypatch, tmp_path
):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from measure import peak_bytes

    spec = PromptSpec.build(64, 1, 2, gate=gate, transform=transform)
    save_prompts(FrequencyPrompts(spec, init_std=0.05), tmp_path / "prompts.pth")
    loss = CLASSES["FreeKDLoss"](
        64, 64, 1, prompts=str(tmp_path / "prompts.pth"), normalize=normalize
    )
    student, teacher = maps(2, 64, 100, 84)
    student.requires_grad_()

    def step():
        student.grad = None
        loss(student, teacher).backward()

    held = peak_bytes(step, "cpu", lambda: setattr(student, "grad", None))
    assert 1 <= held / (student.numel() * 4) <= 4


# --------------------------------------------------------------------------- edges
@every
@pytest.mark.parametrize("size", [(2, 3, 7, 11), (1, 3, 1, 1), (1, 3, 1, 5), (2, 3, 2, 2)])
def test_small_and_odd_maps(kind, size):
    loss, (student, teacher) = make(kind), maps(*size)
    value = apply(loss, student.requires_grad_(), teacher)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(student.grad).all()


@every
def test_constant_channels(kind):
    """Without variance, on either side or on both."""
    loss, (student, teacher) = make(kind), maps(2, 3, 6, 5)
    student[:, 0] = teacher[:, 1] = 2.0
    student[:, 2] = teacher[:, 2] = 0.0
    value = apply(loss, student.requires_grad_(), teacher)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(student.grad).all()


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_is_computed_in_float32(kind, dtype):
    """Also under autocast, which would compute convolutions and products in bfloat16."""
    loss, (student, teacher) = make(kind), maps(2, 3, 9, 8)
    student, teacher = student.to(dtype), teacher.to(dtype)
    leaf, wide = student.clone().requires_grad_(), student.float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = apply(loss, leaf, teacher)
    value.backward()
    expected = apply(loss, wide, teacher.float())
    expected.backward()
    assert value.dtype == torch.float32 and leaf.grad.dtype == dtype
    assert torch.allclose(value, expected, rtol=1e-5)
    largest = wide.grad.abs().max()
    assert torch.allclose(leaf.grad.float(), wide.grad, rtol=0.02, atol=0.01 * float(largest))


@every
def test_maps_and_parameters_of_two_precisions(kind):
    """What learns says which: float64 maps before float32 layers, and the reverse."""
    (student, teacher), wide = maps(2, 3, 9, 8), make(kind).double()
    learns = any(True for _ in wide.parameters())
    for loss, dtype in ((make(kind), torch.float64), (wide, torch.float32)):
        leaf = student.to(dtype).requires_grad_()
        value = apply(loss, leaf, teacher.to(dtype))
        value.backward()
        computed = next(loss.parameters()).dtype if learns else dtype
        assert value.dtype == computed and leaf.grad.dtype == dtype
        assert torch.allclose(value.float(), apply(make(kind), student, teacher), rtol=1e-4)


@every
def test_small_gradients_survive_a_scaler_in_float16(kind):
    """They lie below float16's least number, 6e-8, until the scale is in: 2^16 here."""
    loss, (student, teacher) = make(kind), maps(2, 3, 40, 40)
    teacher = student + 0.01 * teacher if kind != "divergence" else teacher
    half = student.half().requires_grad_()
    wide = half.detach().float().requires_grad_()
    for leaf in (half, wide):
        (apply(loss, leaf, teacher.half()) * 2.0**16 * 1e-4).backward()
    expected = wide.grad
    assert torch.allclose(
        half.grad.float(), expected, rtol=0.01, atol=0.01 * float(expected.abs().max())
    )


@pytest.mark.parametrize("kind", list(KINDS)[:6])
def test_equal_maps_have_nothing_to_learn(kind):
    loss, feat = CLASSES[KINDS[kind][0]](3, 3, 1, **KINDS[kind][1]), torch.randn(2, 3, 8, 8)
    assert float(apply(loss, feat, feat.clone())) == pytest.approx(0, abs=1e-6)


@every
def test_a_sum_over_levels_aligned(kind):
    """Levels add up; other channels and sizes are the teacher's after phi."""
    loss = make(kind, 4, 6, levels=2)
    students = [torch.randn(2, 4, 8, 8), torch.randn(2, 4, 3, 4)]
    teachers = [torch.randn(2, 6, 8, 8), torch.randn(2, 6, 6, 8)]
    total = apply(loss, students, teachers)
    assert loss.align is not None and loss.align[0].out_channels == 6
    total.backward()
    assert all(parameter.grad is not None for parameter in loss.align.parameters())
    torch.manual_seed(1)
    single = apply(loss, students[::-1], teachers[::-1])
    assert torch.isfinite(single) and single.shape == ()


@every
def test_wrong_maps_name_the_key(kind):
    loss = make(kind, 3, levels=2)
    feat = torch.zeros(2, 3, 4, 4)
    for students, teachers, words in (
        ([feat], [feat], ["student", "1 feature maps", "num_levels=2"]),
        (
            [feat, feat],
            [feat, feat[:, :2]],
            ["teacher level 1", "teacher_channels", "(2, 2, 4, 4)"],
        ),
        ([feat, feat[0]], [feat, feat], ["student level 1", "student_channels", "(3, 4, 4)"]),
        ([feat, None], [feat, feat], ["student level 1", "NoneType"]),
    ):
        with pytest.raises(FeatureError) as error:
            apply(loss, students, teachers)
        assert all(word in str(error.value) for word in [type(loss).__name__, *words])


@every
def test_options_of_another_kind_name_their_key(kind):
    name = KINDS[kind][0]
    for option, value in (
        ("student_channels", 0), ("teacher_channels", "8"), ("num_levels", 1.5),
        ("loss_weight", -1), ("align", "conv"),
    ):  # fmt: skip
        given = {**dict(student_channels=3, teacher_channels=3, num_levels=1), option: value}
        with pytest.raises(ValueError, match=option):
            CLASSES[name](**given)
    with pytest.raises(ValueError, match="align='auto'"):
        CLASSES[name](3, 4, 1, align=None)
    with pytest.raises(ValueError, match=r"k\.align='conv'"):
        CLASSES[name].check_options(dict(align="conv"), "k")


# --------------------------------------------------------------------------- domain
def test_the_mean_over_bands():
    """Energy of the high bands alone: an orthonormal transform keeps it, so by Parseval."""
    student, teacher = maps(1, 2, 8, 8)
    domain = Domain("frequency", dict(type="haar", levels=1))
    found = domain.mean(lambda s, t: (s - t).square().sum() / s.shape[1], student, teacher)
    difference = student - teacher
    low = torch.nn.functional.avg_pool2d(difference, 2) * 2
    energy = difference.square().sum() - low.square().sum()
    assert float(found) == pytest.approx(float(energy) / 3 / 2, rel=1e-5)


@pytest.mark.parametrize("name", ["CWDLoss", "PKDLoss"])
def test_options_of_the_domain(name):
    sizes = dict(student_channels=3, teacher_channels=3, num_levels=1)
    for options, words in (
        (dict(domain="fourier"), ["domain='fourier'", "'spatial', 'frequency'"]),
        (dict(domain="frequency", bands="hihg"), ["bands='hihg'"]),
        (dict(domain="frequency", transform="haaar"), ["transform.type='haaar'", "'haar'"]),
        (dict(transform="haar"), ["transform='haar'", "Set domain='frequency'"]),
        (dict(bands="low"), ["bands='low'", "Set domain='frequency'"]),
    ):
        for build in (
            lambda given: CLASSES[name](**sizes, **given),
            lambda given: CLASSES[name].check_options(given, "k"),
        ):
            with pytest.raises(ValueError) as error:
                build(options)
            assert all(word in str(error.value) for word in words)
    CLASSES[name](**sizes, domain="frequency", transform=dict(type="db2", levels=2), bands="low")
