"""Gates of every shape: what a weight with places does to the loss and to stage 1."""

import pytest
import torch

from freekd.frequency import HAAR, WaveletTransform
from freekd.frequency.distance import weighted_sum
from freekd.gates import GATES, Gate
from freekd.losses import band_distance as module
from freekd.losses.freekd import FreeKDLoss, freekd_loss
from freekd.prompts.file import load_prompts, save_prompts
from freekd.prompts.masks import haar_masks
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.reconstruction import masked_reconstruction
from freekd.prompts.spec import PromptSpec

TRANSFORMS = [HAAR, WaveletTransform("db2", 2, "symmetric")]
SHAPES = {"channels": (2, 4, 1, 1), "places": (2, 1, 9, 12), "both": (2, 4, 9, 12)}


def maps(seed=0, dtype=torch.float64):
    gen = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 2, 4, 9, 12, generator=gen, dtype=dtype)
    return student.requires_grad_(), teacher


def fast(loss):
    """Whether the loss is the one step of the graph that takes no bands."""
    return type(loss.grad_fn).__name__ == "_HaarDistanceBackward"


def masks_of(teacher):
    return haar_masks(torch.randn(10, 2, 4, dtype=teacher.dtype), teacher)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_ones_are_no_gate(transform, shape, distance):
    student, teacher = maps()
    plain = freekd_loss(student, teacher, None, None, transform, distance=distance)
    got = freekd_loss(student, teacher, None, torch.ones(shape), transform, distance=distance)
    torch.testing.assert_close(got, plain, rtol=1e-14, atol=0)
    prompt = torch.randn(len(transform.names), 2, 4, dtype=torch.float64)
    out, _ = masked_reconstruction(teacher, prompt, transform)
    gated, _ = masked_reconstruction(teacher, prompt, transform, gate_weight=torch.ones(shape))
    torch.testing.assert_close(gated, out, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_constant_over_places_is_the_channel_weight(transform):
    student, teacher = maps()
    weight = torch.rand(2, 4, 1, 1, dtype=torch.float64)
    masks = masks_of(teacher) if transform == HAAR else None
    want = freekd_loss(student, teacher, masks, weight, transform)
    got = freekd_loss(student, teacher, masks, weight.expand(2, 4, 9, 12), transform)
    torch.testing.assert_close(got, want)
    grads = [torch.autograd.grad(loss, student)[0] for loss in (got, want)]
    torch.testing.assert_close(*grads)
    prompt = torch.randn(len(transform.names), 2, 4, dtype=torch.float64)
    outs = [
        masked_reconstruction(teacher, prompt, transform, gate_weight=w)[0]
        for w in (weight, weight.expand(2, 4, 9, 12))
    ]
    torch.testing.assert_close(*outs)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_against_the_bands_written_out(transform, shape):
    """sum over bands of mean( omega_k |a_k - b_k| ), omega averaged for each band."""
    student, teacher = maps()
    weight = torch.rand(shape, dtype=torch.float64)
    got = freekd_loss(student, teacher, None, weight, transform)
    averaged = transform.averaged(weight.expand(2, 4, 9, 12).contiguous())
    a, b = (transform.analyse(x).flat() for x in (student, teacher))
    want = sum((w * (x - y).abs()).mean() for w, x, y in zip(averaged, a, b))
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(
        torch.autograd.grad(got, student)[0], torch.autograd.grad(want, student)[0]
    )


def test_which_way_each_shape_takes():
    student, teacher = maps()
    masks = masks_of(teacher)
    ways = {
        name: fast(freekd_loss(student, teacher, masks, torch.rand(shape)))
        for name, shape in SHAPES.items()
    }
    assert ways == dict(channels=True, places=True, both=False)


def test_fast_and_general_way_agree(monkeypatch):
    student, teacher = maps()
    masks = masks_of(teacher)
    weights = [torch.rand(shape, dtype=torch.float64) for shape in SHAPES.values()]
    first = [freekd_loss(student, teacher, masks, weight) for weight in weights]
    monkeypatch.setattr(module, "can_fuse", lambda *tensors: False)
    for weight, want in zip(weights, first):
        torch.testing.assert_close(freekd_loss(student, teacher, masks, weight), want)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
@pytest.mark.parametrize("shape", [(1, 2, 1, 1), (1, 1, 4, 5), (1, 2, 4, 5)])
def test_gradcheck(transform, shape):
    gen = torch.Generator().manual_seed(0)
    teacher, feat = torch.randn(2, 1, 2, 4, 5, generator=gen, dtype=torch.float64)
    feat.requires_grad_()
    weight = (torch.rand(shape, generator=gen, dtype=torch.float64) + 0.5).requires_grad_()
    prompt = torch.randn(len(transform.names), 2, 2, generator=gen, dtype=torch.float64)

    def loss(x, w):
        return freekd_loss(x, teacher, None, w, transform, distance="l2")

    def stage_1(x, w):
        return masked_reconstruction(x, prompt, transform, gate_weight=w)[0]

    assert torch.autograd.gradcheck(loss, (feat, weight))
    assert torch.autograd.gradcheck(stage_1, (feat, weight))


class Spot(Gate):
    """Places by the mean over channels: 1 at the start, as every gate."""

    def __init__(self, channels, all_channels=False):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(len(channels)))
        self.all_channels = all_channels

    def forward(self, feats):
        means = [feat if self.all_channels else feat.mean(1, keepdim=True) for feat in feats]
        return [2 * torch.sigmoid(scale * mean) for scale, mean in zip(self.scale, means)]


@pytest.fixture
def spot():
    GATES.register("spot")(Spot)
    yield
    del GATES.classes["spot"]


@pytest.mark.parametrize("all_channels", [False, True])
def test_a_sibling_with_places_goes_all_the_way(spot, tmp_path, all_channels):
    """Learned in stage 1, written, frozen in stage 2; levels may differ in channels."""
    form = dict(type="spot", all_channels=all_channels)
    spec = PromptSpec.build((4, 6), 2, gate=form)
    prompts = FrequencyPrompts(spec, init_std=0.5)
    feats = [torch.randn(2, 4, 9, 12), torch.randn(2, 6, 5, 6)]
    outs, _ = prompts(feats)
    sum(out.square().sum() for out in outs).backward()
    assert float(prompts.gate.scale.grad.abs().min()) > 0
    with torch.no_grad():
        prompts.gate.scale.fill_(0.7)
    path = str(tmp_path / "prompts.pth")
    save_prompts(prompts, path)
    loss = FreeKDLoss((4, 6), (4, 6), 2, prompts=path, gate=form)
    students = [torch.randn_like(feat, requires_grad=True) for feat in feats]
    got = loss(students, feats)
    want = 0
    with torch.no_grad():
        weights = [t * s for t, s in zip(prompts.gate(feats), prompts.gate(students))]
        masks = prompts.weights(feats)
    for s, t, weight, mask in zip(students, feats, weights, masks):
        gates = HAAR.averaged(weight)
        scaled = [m / (len(s) * s.shape[1] * m[0].numel()) for m in mask]
        want = want + weighted_sum(HAAR.difference(s, t), scaled, gates)
    torch.testing.assert_close(got, want)
    got.backward()
    assert not any(parameter.requires_grad for parameter in loss.prompts.parameters())
    left_out = FreeKDLoss((4, 6), (4, 6), 2, prompts=path, gate=None)
    assert left_out.prompts.gate is None and load_prompts(path).prompts.spec.gate == form
    with pytest.raises(ValueError, match=r"gate: the config says dict\(type='spot'"):
        other = dict(type="spot", all_channels=not all_channels)
        FreeKDLoss((4, 6), (4, 6), 2, prompts=path, gate=other)


def test_the_config_form():
    assert GATES.config("position") == dict(type="position", reduction=4)
    with pytest.raises(ValueError, match=r"gate.reduction must be an integer from 1 .* got 0"):
        FrequencyPrompts(PromptSpec.build(8, 2, gate=dict(type="position", reduction=0)))
    with pytest.raises(ValueError, match="gate='position' relates .*use gate=None|Use gate=None"):
        PromptSpec.build((4, 8), 2, gate=dict(type="position"))
    narrow = FrequencyPrompts(PromptSpec.build(64, 1, gate=dict(type="position", reduction=2)))
    assert narrow.gate.mlps[0][0].out_features == 32
