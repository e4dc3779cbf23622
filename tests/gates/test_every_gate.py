"""What holds for every registered gate, one of a user's own included."""

import pytest
import torch

from freekd.frequency import HAAR, CosineTransform, FourierTransform
from freekd.gates import GATES, Gate
from freekd.losses.freekd import FreeKDLoss, freekd_loss
from freekd.prompts.file import load_prompts, save_prompts
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec


class OwnGate(Gate):
    """A user's: each place by the mean of its channels."""

    def __init__(self, channels):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(len(channels)))

    def forward(self, feats):
        return [2 * torch.sigmoid(k * f.mean(1, keepdim=True)) for k, f in zip(self.scale, feats)]


OURS = [name for name in GATES.classes if name != "own"]
every_gate = pytest.mark.parametrize("name", [*OURS, "own"])


@pytest.fixture(autouse=True)
def own():
    GATES.register("own")(OwnGate)
    yield
    del GATES.classes["own"]


def channels_of(name):
    """Different ones on each level, where the gate takes that."""
    return (6, 6, 6) if GATES.classes[name].same_channels else (6, 4, 9)


def maps(channels, seed=0, dtype=torch.float32):
    gen = torch.Generator().manual_seed(seed)
    return [
        torch.randn(2, count, *size, generator=gen, dtype=dtype)
        for count, size in zip(channels, ((8, 12), (5, 6), (1, 2)))
    ]


def stirred(name, std=0.3, transform=HAAR):
    """Prompts with a gate that has learned something: no weight is at its start."""
    torch.manual_seed(0)
    spec = PromptSpec.build(channels_of(name), 3, transform=transform, gate=name)
    prompts = FrequencyPrompts(spec, init_std=0.3)
    for parameter in prompts.gate.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return prompts


@every_gate
def test_it_starts_as_the_identity_bitwise(name):
    gate = GATES.build(name, channels_of(name))
    for feat, weight in zip(maps(channels_of(name)), gate(maps(channels_of(name)))):
        assert bool((weight == 1).all())
        assert torch.equal(feat * weight, feat)


@every_gate
@pytest.mark.parametrize("std", [0.5, 50.0])
def test_it_stays_within_zero_and_two_and_its_gradients_finite(name, std):
    gate = stirred(name, std).gate
    for feat, weight in zip(maps(channels_of(name)), gate(maps(channels_of(name)))):
        assert 0 <= float(weight.detach().min()) and float(weight.detach().max()) <= 2
        assert torch.broadcast_shapes(weight.shape, feat.shape) == feat.shape
    sum(weight.sum() for weight in gate(maps(channels_of(name)))).backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in gate.parameters())


@every_gate
def test_each_image_by_itself(name):
    gate, feats = stirred(name).gate.eval(), maps(channels_of(name))
    both = gate(feats)
    for i in range(2):
        for weight, alone in zip(both, gate([feat[i : i + 1] for feat in feats])):
            torch.testing.assert_close(weight[i : i + 1], alone)


@pytest.mark.parametrize("name", OURS)
def test_half_precision_is_computed_in_float32(name):
    gate, feats = stirred(name).gate, [feat.half() for feat in maps(channels_of(name))]
    want = gate([feat.float() for feat in feats])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = gate(feats)
    for weight, wanted in zip(got, want):
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight, wanted)


@pytest.mark.parametrize("name", OURS)
def test_wrong_pyramids_are_refused(name):
    channels = channels_of(name)
    gate = GATES.build(name, channels)
    with pytest.raises(ValueError, match="3 levels, got 2"):
        gate(maps(channels)[:2])
    with pytest.raises(ValueError, match=f"made for {channels[1]} channels, level 1 has 5"):
        gate(maps((channels[0], 5, channels[2])))


# --------------------------------------------------------------------------- stage 1
@every_gate
def test_stage_1_the_task_loss_judges_it_and_nothing_else(name):
    """The masks, and so L_dis, do not see the gate; the map that the teacher gets does."""
    torch.manual_seed(0)
    spec = PromptSpec.build(channels_of(name), 3, gate=name)
    prompts = FrequencyPrompts(spec, init_std=0.3)
    feats = maps(spec.channels)
    learned = list(prompts.gate.parameters())
    outs, masks = prompts(feats)
    unlike = prompts.dissimilarity(masks)
    given = torch.autograd.grad(unlike, learned, retain_graph=True, allow_unused=True)
    assert all(grad is None for grad in given)
    task = sum((out - 1).square().mean() for out in outs)
    first = torch.autograd.grad(task, learned, allow_unused=True)
    assert any(grad is not None and float(grad.abs().max()) > 0 for grad in first)
    optimizer = torch.optim.Adam(learned, lr=0.01)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        task = sum((out - 1).square().mean() for out in prompts(feats)[0])
        task.backward()
        losses.append(float(task.detach()))
        assert all(parameter.grad is not None for parameter in learned)
        optimizer.step()
    assert losses[-1] < losses[0]
    assert all(float(parameter.grad.abs().max()) > 0 for parameter in learned)  # all of it learns


@every_gate
@pytest.mark.parametrize(
    "transform", [HAAR, CosineTransform(), CosineTransform(block=8), FourierTransform()], ids=repr
)
def test_stage_1_and_2_with_each_transform(name, transform, tmp_path):
    prompts = stirred(name, transform=transform)
    feats = maps(channels_of(name))
    outs, masks = prompts(feats)
    assert [out.shape for out in outs] == [feat.shape for feat in feats]
    (sum(out.square().mean() for out in outs) + prompts.dissimilarity(masks)).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in prompts.parameters())
    path = str(tmp_path / "prompts.pth")
    save_prompts(prompts, path)
    assert load_prompts(path).prompts.spec == prompts.spec
    loss = FreeKDLoss(channels_of(name), channels_of(name), 3, path, gate=name)
    assert float(loss(feats, feats)) == 0
    assert float(loss(maps(channels_of(name), 1), feats)) > 0


# --------------------------------------------------------------------------- stage 2
@every_gate
def test_stage_2_it_cannot_lower_the_loss(name, tmp_path):
    """It is frozen, in no optimizer or state, and no gradient reaches the student through it."""
    path = str(tmp_path / "prompts.pth")
    save_prompts(stirred(name), path)
    channels = channels_of(name)
    loss = FreeKDLoss(channels, channels, 3, path)
    assert loss.prompts.gate is not None
    assert not list(loss.parameters()) and not loss.state_dict()
    assert not any(parameter.requires_grad for parameter in loss.prompts.parameters())
    before = {n: value.clone() for n, value in loss.prompts.state_dict().items()}
    teacher = maps(channels)
    student = [feat.requires_grad_() for feat in maps(channels, seed=1)]
    got = loss(student, teacher)
    gate = loss.prompts.gate
    with torch.no_grad():  # the weights of both sides, as constants
        weights = [t * s for t, s in zip(gate(teacher), gate(student))]
        masks = loss.prompts.masks(teacher)
    want = sum(freekd_loss(s, t, m, w) for s, t, m, w in zip(student, teacher, masks, weights))
    torch.testing.assert_close(got, want)
    for a, b in zip(torch.autograd.grad(got, student), torch.autograd.grad(want, student)):
        torch.testing.assert_close(a, b)
    loss.train()
    loss(student, teacher).backward()
    assert all(parameter.grad is None for parameter in loss.prompts.parameters())
    after = loss.prompts.state_dict()
    assert all(torch.equal(before[n], after[n]) for n in before)


@every_gate
def test_a_file_with_another_gate_is_refused(name, tmp_path):
    path = str(tmp_path / "prompts.pth")
    save_prompts(stirred(name), path)
    other = "se" if name != "se" else "cbam"
    channels = channels_of(name)
    with pytest.raises(ValueError, match=rf"says dict\(type='{other}'.*dict\(type='{name}'"):
        FreeKDLoss(channels, channels, 3, path, gate=other)
    assert FreeKDLoss(channels, channels, 3, path, gate=None).prompts.gate is None


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (dict(type="se", reduction=0), "gate.reduction must be an integer"),
        (dict(type="cbam", reduction="4"), "gate.reduction must be an integer"),
        (dict(type="cbam", kernel_size=4), "gate.kernel_size must be odd, got 4"),
        (dict(type="nonlocal", grid=0), "gate.grid must be an integer from 1 to 64, got 0"),
        (dict(type="nonlocal", reduction=0), "gate.reduction must be an integer"),
        (dict(type="nonlocal", grids=8), "'grids'; it has .*Did you mean 'grid'"),
    ],
)
def test_wrong_options_are_named(form, words):
    with pytest.raises(ValueError, match=words):
        FrequencyPrompts(PromptSpec.build(8, 2, gate=form))
