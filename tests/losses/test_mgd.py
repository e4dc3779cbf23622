"""MGD. Oracles: the reference's numbers (test_golden.py), loops, the share of what is masked."""

from pathlib import Path

import numpy as np
import pytest
import torch

from freekd.config.load import load_config
from freekd.losses import cards
from freekd.losses.mgd import MGDLoss, generated


def convolved(feat, conv):
    """3x3, zeros around, by loops."""
    weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
    count, _, height, width = feat.shape
    around = np.pad(feat, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.empty((count, len(weight), height, width))
    for y in range(height):
        for x in range(width):
            patch = around[:, :, y : y + 3, x : x + 3]
            out[:, :, y, x] = np.einsum("ncij,ocij->no", patch, weight) + bias
    return out


def test_against_loops():
    torch.manual_seed(0)
    loss = MGDLoss(3, 4, 1, mask_share=0.5, loss_weight=0.1).double()
    student = torch.randn(2, 3, 9, 5, dtype=torch.float64)
    teacher = torch.randn(2, 4, 9, 5, dtype=torch.float64)
    drawn = []
    draw = loss.draw_mask
    loss.draw_mask = lambda shape, device: drawn.append(draw(shape, device)) or drawn[-1]
    found = float(loss(student, teacher))
    assert [tuple(mask.shape) for mask in drawn] == [(2, 1, 9, 5)]
    phi = loss.align[0]
    aligned = np.einsum("oc,nchw->nohw", phi.weight.detach().numpy()[:, :, 0, 0], student.numpy())
    aligned += phi.bias.detach().numpy()[:, None, None]
    first, _, second = loss.generate[0]
    hidden = np.maximum(convolved(aligned * drawn[0].numpy(), first), 0)
    apart = convolved(hidden, second) - teacher.numpy()
    assert found == pytest.approx(0.1 * (apart**2).sum() / 2, rel=1e-10)


@pytest.mark.parametrize("height", [1, 8, 9, 10, 11, 17, 40])
def test_rows_at_a_time_are_those_of_the_map(height):
    """Whatever is left for the last rows."""
    torch.manual_seed(0)
    block = MGDLoss(2, 2, 1).double().generate[0]
    feat = torch.randn(1, 2, height, 3, dtype=torch.float64)
    whole = block(feat)
    for first in range(0, height, 8):
        last = min(height, first + 8)
        start, stop = max(0, first - 2), min(height, last + 2)
        found = generated(block, feat[:, :, start:stop], first - start, stop - last)
        assert torch.allclose(found, whole[:, :, first:last], atol=1e-12)


@pytest.mark.parametrize(
    ("mask", "shape"), [("spatial", (2, 1, 200, 200)), ("channel", (200, 200, 1, 1))]
)
def test_the_share_that_is_masked(mask, shape):
    """0.65 of 80,000 or 40,000 draws: a standard deviation is at most 0.0024."""
    torch.manual_seed(0)
    kept = MGDLoss(2, 2, 1, mask=mask).draw_mask(shape, torch.device("cpu"))
    assert kept.shape == shape and set(kept.unique().tolist()) == {0.0, 1.0}
    assert float(kept.mean()) == pytest.approx(0.35, abs=0.01)


def test_a_mask_is_drawn_for_each_level_and_call_from_the_run_s_generator():
    torch.manual_seed(0)
    loss = MGDLoss(2, 2, 2, loss_weight=1.0)
    maps = [torch.randn(2, 2, 6, 6), torch.randn(2, 2, 3, 3)]
    state = torch.get_rng_state()
    first, second = float(loss(maps, maps)), float(loss(maps, maps))
    torch.set_rng_state(state)
    assert first != second and float(loss(maps, maps)) == first
    torch.set_rng_state(state)  # in the levels' order
    masks = iter([(torch.rand(2, 1, side, side) >= 0.65).float() for side in (6, 3)])
    loss.draw_mask = lambda shape, device: next(masks)
    assert float(loss(maps, maps)) == first


@pytest.mark.parametrize("share", [0, 1])
def test_nothing_or_all_masked(share):
    """All masked, as a draw may be: what is generated does not depend on the student."""
    torch.manual_seed(0)
    loss = MGDLoss(2, 2, 1, mask_share=0, loss_weight=1.0)
    loss.draw_mask = lambda shape, device: torch.full(shape, 1.0 - share)
    student, teacher = torch.randn(2, 2, 5, 5, requires_grad=True), torch.randn(2, 2, 5, 5)
    value = loss(student, teacher)
    value.backward()
    expected = loss.generate[0](student.detach() * (1 - share)) - teacher
    assert float(value) == pytest.approx(float(expected.square().sum().detach()) / 2, rel=1e-5)
    assert bool(student.grad.any()) == (share == 0)


def test_options():
    for options, word in (
        (dict(mask="rows"), "mask='rows'"),
        (dict(mask_share=1.5), "mask_share"),
        (dict(mask_share=1), "mask_share must be a number from 0 up to, but below, 1"),
        (dict(mask_share="0.5"), "mask_share"),
        (dict(mask_share=True), "mask_share"),
    ):
        with pytest.raises(ValueError, match=word):
            MGDLoss(2, 2, 1, **options)
        with pytest.raises(ValueError, match=rf"k\.{word}"):
            MGDLoss.check_options(options, "k")


def test_card():
    card = cards()["mgd"]
    assert card.type == "MGDLoss" and card.taps["seg"] == "backbone.layer4" and card.golden


# --------------------------------------------------------------------------- classification
CONFIG = str(Path(__file__).resolve().parents[2] / "configs/mgd/resnet34_resnet18_digits_cls.py")


def test_what_a_classifier_gets_by_default():
    """Whole channels of the last map, a share of 0.15; detectors keep theirs."""
    loss = load_config(CONFIG, {"pair.losses.mgd": {"_delete_": True}}).algorithm.distiller
    component = loss.components[0]
    assert component.student_module == component.teacher_module == "backbone"
    told = dict(student_channels=64, teacher_channels=128, num_levels=1)
    options = dict(mask="channel", mask_share=0.15, loss_weight=7e-5)
    assert dict(component.losses[0]) == dict(type="MGDLoss", name="loss_mgd", **told, **options)
    options = {"pair.losses.mgd": dict(mask="spatial", mask_share=0.5, loss_weight=1.0)}
    given = load_config(CONFIG, options).algorithm.distiller.components[0].losses[0]
    assert (given.mask, given.mask_share, given.loss_weight) == ("spatial", 0.5, 1.0)
    detector = CONFIG.replace("resnet34_resnet18_digits_cls", "retinanet_r34_r18_digits")
    assert "mask" not in load_config(detector).algorithm.distiller.components[0].losses[0]


def test_channels_are_masked_at_all_places():
    """By hand: the masked channels of the aligned map take no part, nor does a place."""
    torch.manual_seed(0)
    loss = MGDLoss(3, 4, 1, mask="channel", mask_share=0.5, loss_weight=2.0)
    kept = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    shapes = []
    loss.draw_mask = lambda shape, device: shapes.append(shape) or kept.view(shape)
    student, teacher = torch.randn(2, 3, 5, 5), torch.randn(2, 4, 5, 5)
    with torch.no_grad():
        made = loss.generate[0](loss.align[0](student) * kept[:, :, None, None])
        expected = 2 * (made - teacher).square().sum() / 2
        assert float(loss(student, teacher)) == pytest.approx(float(expected), rel=1e-5)
    assert shapes == [(2, 4, 1, 1)]


@pytest.mark.parametrize("mask", ["spatial", "channel"])
def test_without_a_mask_no_draw_matters(mask):
    torch.manual_seed(0)
    loss = MGDLoss(2, 2, 1, mask=mask, mask_share=0.0, loss_weight=1.0)
    student, teacher = torch.randn(2, 2, 5, 5), torch.randn(2, 2, 5, 5)
    values = {float(loss(student, teacher)) for _ in range(3)}
    assert len(values) == 1
