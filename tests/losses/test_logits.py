"""What losses on class logits share. Oracles: float64, hand arithmetic, torch's own softmax."""

import pytest
import torch
from loss_steps import step_of
from torch.nn import functional as F

from freekd.checks import FeatureError
from freekd.losses import cards
from freekd.losses.logits import (
    LabelledLogitsLoss,
    at_label,
    check_logits,
    hard_labels,
    labels_in,
    log_of_rest,
    log_softmax_of_rest,
    soft_cross_entropy,
    softmax_of_rest,
)

LABELS = torch.tensor([3, 0, 6, 2])


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return 3 * torch.randn(4, 7, dtype=torch.float64)


def without(logits):
    """The other classes of each row, by hand."""
    return torch.stack([torch.cat([z[:y], z[y + 1 :]]) for z, y in zip(logits, LABELS.tolist())])


def test_soft_cross_entropy_is_torch_s_own(logits):
    """The teacher's probabilities are constants."""
    teacher = (logits.flip(0) / 2).requires_grad_()
    found = soft_cross_entropy(logits.requires_grad_(), teacher, 2.5)
    expected = F.cross_entropy(logits / 2.5, (teacher.detach() / 2.5).softmax(1), reduction="none")
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert teacher.grad is None and logits.grad.abs().sum() > 0


def test_the_rest_is_a_softmax_of_the_other_classes(logits):
    expected = F.log_softmax(without(logits), 1)
    log_q = log_softmax_of_rest(logits, LABELS)
    torch.testing.assert_close(without(log_q), expected)
    torch.testing.assert_close(without(softmax_of_rest(logits, LABELS)), expected.exp())
    assert not at_label(log_q, LABELS).any()
    assert not at_label(softmax_of_rest(logits, LABELS), LABELS).any()


def test_the_probability_of_the_rest(logits):
    p = F.softmax(logits, 1)
    torch.testing.assert_close(
        log_of_rest(p.log(), LABELS).exp(), 1 - p[torch.arange(4), LABELS], rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_far_from_each_other(dtype):
    """A label 300 above the rest, or below: 1 - p is exp(-300) times 2, or 1; nothing is inf."""
    logits = torch.tensor([[300.0, 0.0, 0.0], [-300.0, 0.0, 0.0]], dtype=dtype).float()
    labels = torch.tensor([0, 0])
    logits.requires_grad_()
    rest = log_of_rest(torch.log_softmax(logits, 1), labels)
    expected = torch.tensor([-300.0, 0.0]) + torch.tensor([2.0, 1.0]).log()
    torch.testing.assert_close(rest, expected)
    both = rest.sum() + log_softmax_of_rest(logits, labels).sum()
    both.backward()
    assert torch.isfinite(logits.grad).all()


def test_gradients_by_finite_differences(logits):
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: log_softmax_of_rest(z, LABELS), (logits,))
    assert torch.autograd.gradcheck(
        lambda z: log_of_rest(torch.log_softmax(z, 1), LABELS), (logits,)
    )


def test_hard_labels_of_both_kinds():
    soft = torch.tensor([[0.2, 0.5, 0.3], [0.4, 0.3, 0.3]])
    assert hard_labels(soft, (2, 3), "x").tolist() == [1, 0]
    hard = torch.tensor([2, 0], dtype=torch.int32)
    assert hard_labels(hard, (2, 3), "x").tolist() == [2, 0]
    assert hard_labels(hard, (2, 3), "x").dtype == torch.int64


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.zeros(3, dtype=torch.int64), r"labels \(2,\) .* got \(3,\) of torch.int64"),
        (torch.zeros(2), r"got \(2,\) of torch.float32"),
        (torch.zeros(2, 5), r"soft ones \(2, 3\), .*got \(2, 5\)"),
    ],
)
def test_other_labels(labels, words):
    with pytest.raises(FeatureError, match="x: expected .*" + words):
        hard_labels(labels, (2, 3), "x")


def test_labels_follow_the_classes():
    """Channel k is the student's class order[k]: a label y stands where order is y."""
    order = torch.tensor([2, 0, 1])
    hard, soft = torch.tensor([0, 1, 2]), torch.eye(3)
    assert labels_in(step_of(gt_label=hard), "x").tolist() == [0, 1, 2]
    moved = labels_in(step_of(gt_label=hard)._replace(class_order=order), "x")
    assert moved.tolist() == [1, 2, 0] and order[moved].tolist() == hard.tolist()
    both = labels_in(step_of(gt_label=soft)._replace(class_order=order), "x")
    assert both.argmax(1).tolist() == moved.tolist()


def test_no_labels():
    with pytest.raises(FeatureError, match="x: expected the labels .* got a batch of img; load"):
        labels_in(step_of(img=torch.zeros(1)), "x")
    with pytest.raises(FeatureError, match="got no batch"):
        labels_in(None, "x")


def test_too_few_classes():
    one = [torch.zeros(2, 1)]
    assert check_logits(one, one, "x")[0] == one
    with pytest.raises(FeatureError, match=r"x: .* at least 2 classes, got \(2, 1\)"):
        check_logits(one, one, "x", 2)


# --------------------------------------------------------------------------- all labelled losses
MODULES = [card.module for card in cards().values() if isinstance(card.module, type)]
LABELLED = [module for module in MODULES if issubclass(module, LabelledLogitsLoss)]
FIVE = torch.tensor([2, 0, 6, 2, 4])


def test_there_are_labelled_losses():
    assert len(LABELLED) >= 3


@pytest.mark.parametrize("kind", LABELLED)
def test_it_computes_in_float32_under_autocast(kind):
    torch.manual_seed(0)
    student, teacher, step = torch.randn(5, 7), torch.randn(5, 7), step_of(gt_label=FIVE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = kind()(student, teacher, step)
    assert torch.equal(value, kind()(student, teacher, step))


@pytest.mark.parametrize("kind", LABELLED)
def test_of_a_soft_label_the_likeliest_class_counts(kind):
    torch.manual_seed(0)
    sides = [torch.randn(5, 7, dtype=torch.float64) for _ in range(2)]
    soft = 0.6 * F.one_hot(FIVE, 7) + 0.4 * F.one_hot((FIVE + 1) % 7, 7)
    loss = kind()
    assert torch.equal(loss(*sides, step_of(gt_label=soft)), loss(*sides, step_of(gt_label=FIVE)))
