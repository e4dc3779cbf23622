"""FourierKD's class loss. Oracles: hand arithmetic, mmdet's own parts, the equation row by row."""

import math

import pytest
import torch
from torch.nn import functional as F

from freekd import IoUAwareLoss
from freekd.checks import FeatureError
from freekd.losses import iou_aware
from freekd.losses.boxes import MAX_RATIO, aligned_iou, decode_boxes, points_to_boxes
from freekd.losses.iou_aware import iou_aware_loss, iou_targets, positive_rows
from freekd.losses.step import DenseLevel

EPS = 1.1920929e-07


def make(count=2, classes=3, anchors=2, size=(4, 5), points=0, seed=0, dtype=torch.float64):
    """A level of random maps, some of its rows positive; ``points`` in each set, 0: anchors."""
    gen = torch.Generator().manual_seed(seed)
    rows = size[0] * size[1] * anchors

    def random(*shape):
        return torch.randn(*shape, generator=gen, dtype=dtype)

    labels = torch.randint(0, classes + 1, (count, rows), generator=gen)
    labels[torch.rand(count, rows, generator=gen) < 0.6] = classes
    weights = torch.randint(0, 3, (count, rows), generator=gen).to(dtype)
    maps = [random(count, anchors * classes, *size) for _ in range(2)]
    if points:
        boxes = [3 * random(count, rows, 2 * points) for _ in range(2)]
        return DenseLevel(*maps, *boxes, labels, weights)
    boxes = [random(count, anchors * 4, *size) for _ in range(2)]
    low = 20 * random(count, rows, 2)
    grid = torch.cat([low, low + 5 + random(count, rows, 2).abs() * 10], dim=2)
    return DenseLevel(*maps, *boxes, labels, weights, grid)


def plain(levels, avg_factor, alpha=0.75, gamma=2.0):
    """The equation as it stands: all rows, all classes, boxes and IoU one row at a time."""
    total = 0.0
    for level in levels:
        count, channels, height, width = level.student_classes.shape
        anchors = level.labels.shape[1] // (height * width)
        classes = channels // anchors
        for n in range(count):
            for row in range(level.labels.shape[1]):
                place, a = divmod(row, anchors)
                y, x = divmod(place, width)
                logits = level.student_classes[n, a * classes : (a + 1) * classes, y, x]
                theirs = level.teacher_classes[n, a * classes : (a + 1) * classes, y, x]
                boxes = []
                for given in (level.student_boxes, level.teacher_boxes):
                    if level.anchors is None:
                        xs, ys = given[n, row, 0::2], given[n, row, 1::2]
                        middle = (float(xs.mean()), float(ys.mean()))
                        half = (float(xs.std()), float(ys.std()))
                    else:
                        x1, y1, x2, y2 = level.anchors[n, row].tolist()
                        dx, dy, dw, dh = given[n, 4 * a : 4 * a + 4, y, x].tolist()
                        most = abs(math.log(16 / 1000))
                        w, h = x2 - x1, y2 - y1
                        middle = ((x1 + x2) / 2 + dx * w, (y1 + y2) / 2 + dy * h)
                        half = tuple(
                            side * math.exp(min(max(d, -most), most)) / 2
                            for side, d in ((w, dw), (h, dh))
                        )
                    boxes.append((middle, half))
                (m, h), (p, q) = boxes
                shared = 1.0
                for i in (0, 1):
                    shared *= max(
                        0.0, min(m[i] + h[i], p[i] + q[i]) - max(m[i] - h[i], p[i] - q[i])
                    )
                union = 4 * h[0] * h[1] + 4 * q[0] * q[1] - shared
                positive = 0 <= int(level.labels[n, row]) < classes
                target = positive * shared / max(union, 1e-6) * theirs.detach().sigmoid()
                factor = torch.where(
                    target > 0, target, alpha * (logits.sigmoid() - target).abs() ** gamma
                )
                terms = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
                total = total + (factor * terms).sum() * level.label_weights[n, row]
    return total / (avg_factor + EPS)


# --------------------------------------------------------------------------- value and gradient
@pytest.mark.parametrize("points", [0, 4], ids=["anchors", "points"])
@pytest.mark.parametrize("gamma", [2.0, 1.5, 0.0])
def test_the_equation_row_by_row(points, gamma):
    levels = [
        make(anchors=1 if points else 2, points=points, size=size, seed=i)
        for i, size in enumerate([(3, 4), (2, 1)])
    ]
    levels = [
        level._replace(student_classes=level.student_classes.requires_grad_()) for level in levels
    ]
    maps = [level.student_classes for level in levels]
    found = iou_aware_loss(levels, 7.0, 0.6, gamma)
    expected = plain(levels, 7.0, 0.6, gamma)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    wanted = torch.autograd.grad(expected, maps)
    torch.testing.assert_close(torch.autograd.grad(found, maps), wanted, rtol=1e-9, atol=1e-13)


def test_hand_arithmetic():
    """Boxes (0,0,2,2) and (1,0,3,2): IoU 1/3. Logits 0: the teacher's 1/2 makes y = 1/6, BCE ln 2.

    A second place is background: 0.75 (1/2)^2 ln 2. Together (1/6 + 3/16) ln 2 / 2.
    """
    box = torch.tensor([[0.0, 0.0, 2.0, 2.0]] * 2)[None]
    deltas = torch.zeros(1, 4, 1, 2)
    moved = deltas.clone()
    moved[0, 0] = 0.5  # of the width
    zero = torch.zeros(1, 1, 1, 2)
    level = DenseLevel(zero, zero, deltas, moved, torch.tensor([[0, 1]]), torch.ones(1, 2), box)
    value = float(iou_aware_loss([level], 2.0))
    assert value == pytest.approx((1 / 6 + 3 / 16) * math.log(2) / 2, rel=1e-6)


def test_a_positive_row_has_a_target_in_every_class():
    level = make()
    positive = positive_rows(level)
    rows = iou_targets(level, positive)
    assert rows.shape == (int(((level.labels >= 0) & (level.labels < 3)).sum()), 3)
    overlapping = rows.sum(1) > 0
    assert overlapping.any() and (rows[overlapping] > 0).all()


def test_boxes_far_apart_are_as_background():
    level = make(seed=3)
    apart = level._replace(teacher_boxes=level.teacher_boxes + 1e4)
    nothing = level._replace(labels=torch.full_like(level.labels, 3))
    torch.testing.assert_close(iou_aware_loss([apart], 3.0), iou_aware_loss([nothing], 3.0))


@pytest.mark.parametrize("points", [0, 4], ids=["anchors", "points"])
def test_no_positive_row_at_all(points):
    """alpha p^2 softplus(s) of all."""
    level = make(anchors=1, points=points)
    level = level._replace(labels=torch.full_like(level.labels, 3))
    s, weights = level.student_classes, level.label_weights.view(2, 1, 4, 5)
    expected = (0.75 * s.sigmoid() ** 2 * F.softplus(s) * weights).sum()
    torch.testing.assert_close(iou_aware_loss([level], 1.0), expected / (1 + EPS))


def test_no_gradient_but_in_the_students_classes():
    level = make()
    given = [t.clone().requires_grad_() for t in level if t.is_floating_point()]
    maps, labels = given[:4], level.labels
    loss = iou_aware_loss([DenseLevel(*maps, labels, given[4].detach(), given[5].detach())], 5.0)
    gradients = torch.autograd.grad(loss, maps, allow_unused=True)
    assert gradients[0].abs().sum() > 0
    assert gradients[1:] == (None, None, None)


def test_finite_differences():
    level = make(count=1, size=(2, 2), seed=1)

    def loss(maps):
        return iou_aware_loss([level._replace(student_classes=maps)], 3.0)

    assert torch.autograd.gradcheck(loss, (level.student_classes.requires_grad_(),))


@pytest.mark.parametrize("logit", [-200.0, 200.0])
@pytest.mark.parametrize("gamma", [2.0, 0.5])
def test_logits_out_of_all_bounds(logit, gamma):
    level = make(dtype=torch.float32)
    maps = torch.full_like(level.student_classes, logit).requires_grad_()
    loss = iou_aware_loss([level._replace(student_classes=maps)], 3.0, gamma=gamma)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(maps.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_as_it_is_and_is_computed_in_float32(dtype):
    level = make(dtype=torch.float32)
    low = level._replace(**{name: getattr(level, name).to(dtype) for name in level._fields[:4]})
    maps = low.student_classes.requires_grad_()
    wide = low._replace(**{name: getattr(low, name).detach().float() for name in low._fields[:4]})
    wide.student_classes.requires_grad_()
    found, expected = iou_aware_loss([low], 3.0), iou_aware_loss([wide], 3.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    found.backward()
    expected.backward()
    assert maps.grad.dtype == dtype
    torch.testing.assert_close(maps.grad, wide.student_classes.grad.to(dtype), rtol=0.02, atol=1e-4)


def test_channels_last():
    level = make()
    last = level._replace(
        **{
            name: getattr(level, name).to(memory_format=torch.channels_last)
            for name in level._fields[:4]
        }
    )
    grads = []
    for one in (level, last):
        maps = one.student_classes.detach().requires_grad_()
        iou_aware_loss([one._replace(student_classes=maps)], 2.0).backward()
        grads.append(maps.grad)
    torch.testing.assert_close(*grads)


def test_what_it_keeps_for_the_backward_pass():
    """Of the student's maps, no copy; of the rows, only those that are positive."""
    level = make(count=2, classes=20, anchors=3, size=(16, 16), dtype=torch.float32)
    labels = torch.full_like(level.labels, 20)
    labels[:, :4] = 1
    maps = level.student_classes.requires_grad_()
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        iou_aware_loss([level._replace(student_classes=maps, labels=labels)], 4.0)
    kept.pop(maps.data_ptr())
    assert sum(kept.values()) < 0.3 * maps.numel()


# --------------------------------------------------------------------------- beside mmdet's
def test_boxes_and_iou_are_mmdets():
    from mmdet.core import DeltaXYWHBBoxCoder, bbox_overlaps

    gen = torch.Generator().manual_seed(0)
    anchors = torch.rand(50, 4, generator=gen, dtype=torch.float64) * 30
    anchors[:, 2:] += anchors[:, :2] + 1
    deltas = 3 * torch.randn(2, 50, 4, generator=gen, dtype=torch.float64)  # some are clamped
    assert (deltas.abs() > MAX_RATIO).any()
    coder = DeltaXYWHBBoxCoder()
    boxes = [decode_boxes(anchors, each) for each in deltas]
    for box, each in zip(boxes, deltas):
        torch.testing.assert_close(box, coder.decode(anchors, each), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        aligned_iou(*boxes), bbox_overlaps(*boxes, is_aligned=True), rtol=1e-9, atol=1e-12
    )


def test_points_are_mmdets_moment_transform():
    from mmdet.models.dense_heads import RepPointsHead

    head = RepPointsHead(num_classes=3, in_channels=4, feat_channels=4, stacked_convs=1)
    points = torch.randn(20, 18, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(points_to_boxes(points), head.points2bbox(points, y_first=False))


def test_it_is_mmdets_varifocal_loss_on_these_targets():
    from mmdet.models.losses.varifocal_loss import varifocal_loss

    level = make(anchors=1)
    positive = positive_rows(level)
    rows = level.student_classes.permute(0, 2, 3, 1).reshape(-1, 3)
    target = torch.zeros_like(rows)
    target[positive.flatten()] = iou_targets(level, positive)
    expected = varifocal_loss(rows, target, level.label_weights.view(-1, 1), avg_factor=9.0)
    torch.testing.assert_close(iou_aware_loss([level], 9.0), expected, rtol=1e-9, atol=0)


# --------------------------------------------------------------------------- the class
@pytest.mark.parametrize("name", ["loss_weight", "alpha", "gamma"])
@pytest.mark.parametrize("value", [None, -1, True, "1", math.nan, math.inf, [1.0]])
def test_a_value_of_another_kind_names_its_key(name, value):
    with pytest.raises(ValueError, match=name):
        IoUAwareLoss(**{name: value})
    with pytest.raises(ValueError, match=f"pair.losses.mine.{name}"):
        IoUAwareLoss.check_options({name: value}, "pair.losses.mine")


@pytest.mark.parametrize(
    "teacher", [None, [], torch.zeros(1, 3, 4, 4), ([torch.zeros(1, 3, 4, 5)],), ([], [])]
)
def test_outputs_of_other_shapes_are_told(teacher):
    with pytest.raises(FeatureError, match=r"1, 3, 4, 4.* from the student"):
        IoUAwareLoss().check_feats(([torch.zeros(1, 3, 4, 4)], []), teacher)


def test_it_does_not_take_the_name_of_mmdets_loss():
    assert iou_aware.CARD.type == "IoUAwareLoss"
