"""FGD. Oracles: the equations by NumPy's loops, hand arithmetic."""

import numpy as np
import pytest
import torch
from loss_steps import step_of_boxes

from freekd.checks import FeatureError
from freekd.losses import cards
from freekd.losses.fgd import ContextBlock, FGDLoss, box_scales
from freekd.losses.step import Step


# --------------------------------------------------------------------------- scales
def test_the_cells_of_a_box():
    """Stride 8, a map of 4 x 6: what a box touches, at least a cell, clipped to the map."""
    for box, cells in (
        ((8, 8, 24, 16), (slice(1, 2), slice(1, 3))),
        ((7, 8, 24.1, 16), (slice(1, 2), slice(0, 4))),
        ((20, 20, 20, 20), (slice(2, 3), slice(2, 3))),  # without area
        ((-50, -50, 500, 500), (slice(0, 4), slice(0, 6))),
        ((500, 500, 600, 600), (slice(3, 4), slice(5, 6))),
    ):
        inside, outside = box_scales([box], (32, 48), (4, 6))
        expected = torch.zeros(4, 6)
        expected[cells] = 1 / expected[cells].numel()
        assert torch.allclose(inside, expected), box
        free = int((expected == 0).sum())
        assert torch.allclose(outside, (expected == 0).float() / max(1, free))


def test_the_smaller_box_counts_where_they_overlap():
    for order in (1, -1):
        boxes = [(0, 0, 32, 32), (8, 8, 16, 24)][::order]
        inside, _ = box_scales(boxes, (32, 48), (4, 6))
        assert inside[0, 0] == 1 / 16 and inside[1, 1] == inside[2, 1] == 1 / 2


def test_padding_is_of_the_image_that_the_map_covers():
    """A 32 x 24 image padded to 32 x 48: its boxes lie in the left half of the map."""
    inside, outside = box_scales([(0, 0, 24, 32)], (32, 48), (4, 6))
    assert inside[:, :3].all() and not inside[:, 3:].any() and outside[:, 3:].all()


def test_no_boxes_and_nothing_else():
    assert torch.allclose(box_scales([], (8, 8), (2, 2))[1], torch.full((2, 2), 0.25))
    inside, outside = box_scales([(0, 0, 8, 8)], (8, 8), (2, 2))
    assert torch.equal(inside, torch.full((2, 2), 0.25)) and not outside.any()


# --------------------------------------------------------------------------- the loss
def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def context(block, feat):
    """W2 ReLU(LN(W1 sum_j softmax_j(Wk x_j) x_j)) of one image (C, H, W)."""
    own = {name: p.detach().numpy() for name, p in block.named_parameters()}
    flat = feat.reshape(len(feat), -1)
    weights = softmax(own["key.weight"][0] @ flat + own["key.bias"])
    pooled = own["change.0.weight"] @ (flat @ weights) + own["change.0.bias"]
    normed = (pooled - pooled.mean()) / np.sqrt(pooled.var() + 1e-5)
    normed = normed * own["change.1.weight"] + own["change.1.bias"]
    return own["change.3.weight"] @ np.maximum(normed, 0) + own["change.3.bias"]


def by_loops(loss, student, teacher, boxes, image):
    """The paper's sums, a position and a channel at a time."""
    alpha, beta, gamma, lam = loss.weights
    total = 0.0
    channels, height, width = student.shape[1:]
    for s, t, of_image in zip(student, teacher, boxes):
        area = np.zeros((height, width))  # of the smallest box at each position
        for y in range(height):
            for x in range(width):
                for x1, y1, x2, y2 in of_image:
                    rows = [i for i in range(height) if y1 < (i + 1) * image[0] / height
                            and y2 > i * image[0] / height]  # fmt: skip
                    columns = [i for i in range(width) if x1 < (i + 1) * image[1] / width
                               and x2 > i * image[1] / width]  # fmt: skip
                    if y in rows and x in columns:
                        size = len(rows) * len(columns)
                        area[y, x] = min(size, area[y, x] or size)
        behind = (area == 0).sum()
        spatial = [
            height * width * softmax(np.abs(f).mean(0).ravel() / loss.temperature) for f in (s, t)
        ]
        channel = [channels * softmax(np.abs(f).mean((1, 2)) / loss.temperature) for f in (s, t)]
        for c in range(channels):
            for y in range(height):
                for x in range(width):
                    term = spatial[1].reshape(height, width)[y, x] * channel[1][c]
                    term *= (s[c, y, x] - t[c, y, x]) ** 2
                    total += term * (alpha / area[y, x] if area[y, x] else beta / behind)
        total += gamma * np.abs(spatial[0] - spatial[1]).sum()
        total += gamma * np.abs(channel[0] - channel[1]).sum()
        ours, theirs = (context(b, f) for b, f in zip(loss.contexts[0], (s, t)))
        apart = s + ours[:, None, None] - t - theirs[:, None, None]
        total += lam * (apart**2).sum()
    return total / len(student)


def test_against_loops():
    torch.manual_seed(0)
    loss = FGDLoss(4, 4, 1, 0.1, 0.2, 0.3, 0.4, temperature=0.7, loss_weight=2.0).double()
    for parameter in loss.parameters():
        torch.nn.init.normal_(parameter)
    student, teacher = (torch.randn(3, 4, 8, 12, dtype=torch.float64) for _ in range(2))
    boxes = [[(3, 5, 40, 30), (20, 20, 28, 60)], [], [(50, 1, 95, 63)]]
    found = loss(student, teacher, step=step_of_boxes(boxes))
    expected = by_loops(loss, student.numpy(), teacher.numpy(), boxes, (64, 96))
    assert float(found) == pytest.approx(2 * expected, rel=1e-10)


def test_by_hand():
    """One channel, 1 x 2, constant magnitudes: all attention 1, contexts 0.

    s = (1, -1), t = (1, 1): d^2 = (0, 4). The box holds the second position: 0.1 * 4; else, with
    the box at the first, the background's only position: 0.2 * 4. Lambda counts both: 0.4 * 4.
    """
    student, teacher = torch.tensor([[[[1.0, -1.0]]]]), torch.ones(1, 1, 1, 2)
    loss = FGDLoss(1, 1, 1, 0.1, 0.2, 0.3, 0.4)
    for box, expected in (((8, 0, 16, 8), 0.4 + 1.6), ((0, 0, 8, 8), 0.8 + 1.6)):
        found = loss(student, teacher, step=step_of_boxes([[box]], (8, 16)))
        assert float(found) == pytest.approx(expected, rel=1e-6)


def test_boxes_of_several_levels():
    torch.manual_seed(0)
    loss = FGDLoss(2, 2, 2, 0.1, 0.2, 0.3, 0.4)
    maps = [[torch.randn(1, 2, 8, 12), torch.randn(1, 2, 4, 6)] for _ in range(2)]
    boxes = [[(3, 5, 40, 30)]]
    alone = [FGDLoss(2, 2, 1, 0.1, 0.2, 0.3, 0.4) for _ in range(2)]
    expected = 0.0
    for level, single in enumerate(alone):
        single.contexts.load_state_dict(
            {f"0.{name}": value for name, value in loss.contexts[level].state_dict().items()}
        )
        expected += float(single(maps[0][level], maps[1][level], step=step_of_boxes(boxes)))
    assert float(loss(*maps, step=step_of_boxes(boxes))) == pytest.approx(expected, rel=1e-5)


def test_context_begins_at_0_and_learns():
    torch.manual_seed(0)
    block, feat = ContextBlock(6), torch.randn(2, 6, 4, 4)
    assert not block([feat]).any()
    loss = FGDLoss(6, 6, 1)
    loss(torch.randn(2, 6, 4, 4), feat, step=step_of_boxes([[], []], (32, 32))).backward()
    assert all(b.change[3].bias.grad.any() for b in loss.contexts[0])


# --------------------------------------------------------------------------- refused
def test_without_boxes():
    loss, feat = FGDLoss(2, 2, 1), torch.zeros(2, 2, 4, 4)
    img = torch.zeros(2, 3, 32, 32)
    for step, words in (
        (None, ["gt_bboxes", "got []"]),
        (Step(dict(img=img, gt_semantic_seg=img), loss), ["got ['gt_semantic_seg', 'img']"]),
        (step_of_boxes([[]]), ["of 2 images, got the boxes of 1 images"]),
        (Step(dict(gt_bboxes=[]), loss), ["the images (img)", "got ['gt_bboxes']"]),
        (Step(dict(gt_bboxes=[], img=[img]), loss), ["the images (img)", "got list as img"]),
    ):
        with pytest.raises(FeatureError) as error:
            loss(feat, feat, step=step)
        assert all(word in str(error.value) for word in ["fgd", *words])


@pytest.mark.parametrize("name", ["alpha", "beta", "gamma", "lambda_global", "temperature"])
def test_options(name):
    for value in (-1, "1", True, float("nan")):
        with pytest.raises(ValueError, match=rf"\b{name}\b"):
            FGDLoss(2, 2, 1, **{name: value})
        with pytest.raises(ValueError, match=rf"k\.{name}"):
            FGDLoss.check_options({name: value}, "k")
    for value in (0, 1e-40):
        with pytest.raises(ValueError, match="temperature must be a number of at least 0.001"):
            FGDLoss(2, 2, 1, temperature=value)


def test_card():
    card = cards()["fgd"]
    assert card.tasks == ("det",) and card.needs == ("boxes",) and "step" not in card.defaults
