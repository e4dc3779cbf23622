"""USKD. Oracles: hand arithmetic, properties of the equation; tests/golden has the reference's."""

import math

import pytest
import torch
from loss_steps import step_of

from freekd.checks import FeatureError
from freekd.losses.uskd import USKDLoss, target_weights, targets_of, zipf_labels

CHANNELS = dict(logits=5, middle=3)


PATHS = (dict(logits="head.fc", middle="backbone.layer3"), None)


@pytest.fixture
def given():
    torch.manual_seed(0)
    logits = 2 * torch.randn(6, 5, dtype=torch.float64)
    soft = torch.zeros(6, 5, dtype=torch.float64)
    soft[range(6), [0, 1, 2, 3, 4, 0]] = 0.7
    soft[range(6), [2, 0, 1, 4, 3, 3]] += 0.3
    return logits, torch.randn(6, 3, dtype=torch.float64), soft


def loss_of(**options):
    torch.manual_seed(1)
    return USKDLoss(CHANNELS, **options).double()


def value(loss, logits, middle, label):
    return loss(dict(logits=logits, middle=middle), None, step_of(label, (0, None), paths=PATHS))


# --------------------------------------------------------------------------- by hand
def test_by_hand():
    """K = 3, all logits 0, N = 1, y = 0: pi = 1, so L_target = ln 3; the weak head is 0, and the
    smoothed label sums to 1: mu ln 3. All scores are equal and ranks in the classes' order, so z is
    (1/2, 1/3) / (5/6) = (3/5, 2/5) on two classes that are equally likely: ln 2.
    """
    loss = USKDLoss(dict(logits=3, middle=2), alpha=2.0, beta=0.5, mu=0.25, loss_weight=3.0)
    torch.nn.init.zeros_(loss.weak_head.weight)
    torch.nn.init.zeros_(loss.weak_head.bias)
    terms = loss.terms(torch.zeros(1, 3), torch.ones(1, 2), torch.tensor([0]))
    torch.testing.assert_close(terms["labels"], torch.tensor([[0.0, 0.6, 0.4]]))
    assert float(terms["pi"]) == pytest.approx(1)
    expected = 3 * (2 * math.log(3) + 0.5 * math.log(2) + 0.25 * math.log(3))
    assert float(terms["loss"]) == pytest.approx(expected, rel=1e-6)


def test_the_rank_by_hand():
    """The targets are left out of the order's weights, and only then: ranks 1, 3 and 4 remain."""
    scores = torch.tensor([[0.1, 0.4, 0.3, 0.2]])
    mask = torch.tensor([[False, False, True, False]])
    zipf = 1 / torch.arange(1.0, 5.0)
    found = zipf_labels(scores, torch.zeros(1, 4), mask, zipf)
    weights = torch.tensor([1 / 4, 1, 0, 1 / 3])
    torch.testing.assert_close(found, (weights / weights.sum())[None])


def test_what_the_rank_is_made_of():
    """P = (.5, .3, .2), W = (.5, .195, .305), y = 0: W is for class 2 by .11 / .5 = .22.

    Probabilities are for class 1 by .1 / .5 = .2, so class 2 is first; log probabilities by
    (ln .3 - ln .2) / (1 - ln .5) = .239, so class 1 is.
    """
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    loss = USKDLoss(dict(logits=3, middle=1), rank_with="log_prob")
    other = USKDLoss(dict(logits=3, middle=1), rank_with="prob")
    for one in (loss, other):
        torch.nn.init.zeros_(one.weak_head.weight)
        with torch.no_grad():
            one.weak_head.bias.copy_(torch.tensor([0.5, 0.195, 0.305]).log())
    terms = [one.terms(logits, torch.ones(1, 1), torch.tensor([0])) for one in (loss, other)]
    ranks = [each["labels"][0, 1] > each["labels"][0, 2] for each in terms]
    assert ranks == [True, False]


def test_soft_targets():
    """The two largest; one whose share is 0 is no target."""
    label = torch.tensor([[0.2, 0.0, 0.8], [0.0, 1.0, 0.0]])
    found = targets_of(label, torch.zeros(len(label), 3))
    assert found.classes[0].tolist() == [2, 0] and found.shares[0].tolist() == pytest.approx(
        [0.8, 0.2]
    )
    assert found.mask.tolist() == [[True, False, True], [False, True, False]]
    pi = target_weights(torch.full((2, 3), 0.5), found)
    torch.testing.assert_close(pi, torch.tensor([[0.8, 0.2], [1.0, 0.0]]))


# --------------------------------------------------------------------------- properties
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("rank_with", ["log_prob", "prob"])
def test_the_order_of_the_images_does_not_count(given, soft, rank_with):
    logits, middle, label = given
    label = label if soft else label.argmax(1)
    loss, order = loss_of(rank_with=rank_with), torch.tensor([3, 0, 5, 1, 4, 2])
    first = value(loss, logits, middle, label)
    again = value(loss, logits[order], middle[order], label[order])
    torch.testing.assert_close(first, again, rtol=1e-12, atol=0)


@pytest.mark.parametrize("soft", [False, True])
def test_one_image_alone_weighs_its_label(given, soft):
    logits, middle, label = (each[:1] for each in given)
    terms = loss_of().terms(logits, middle, label if soft else label.argmax(1))
    expected = [[0.7, 0.3]] if soft else [[1.0]]
    torch.testing.assert_close(terms["pi"], torch.tensor(expected, dtype=torch.float64))


def test_a_constant_beside_the_logits_does_not_count(given):
    logits, middle, label = given
    shift = torch.randn(6, 1, dtype=torch.float64) * 10
    loss = loss_of()
    torch.testing.assert_close(
        value(loss, logits + shift, middle, label), value(loss, logits, middle, label)
    )


def test_a_label_of_one_class_is_hard_or_soft(given):
    """Two mixed images of one class: the second largest share is 0, and is no target."""
    logits, middle, label = given
    hard = label.argmax(1)
    one_hot = torch.nn.functional.one_hot(hard, 5).double()
    loss = loss_of(alpha=0.7, beta=0.3, mu=0.2)
    torch.testing.assert_close(
        value(loss, logits, middle, one_hot), value(loss, logits, middle, hard)
    )


def test_where_gradients_go(given):
    """To the middle and the weak head from their own part alone; to the logits from the others."""
    logits, middle, label = (each.requires_grad_() for each in given)
    hard = label.argmax(1)
    for options, of_logits, of_middle in (
        (dict(mu=0.0), True, False),
        (dict(alpha=0.0, beta=0.0), False, True),
    ):
        loss = loss_of(**options)
        found = torch.autograd.grad(
            value(loss, logits, middle, hard), [logits, middle, loss.weak_head.weight]
        )
        assert [bool(grad.any()) for grad in found] == [of_logits, of_middle, of_middle]


def test_the_gradient_in_the_logits_by_hand(given):
    """pi and z are constants: sum_j pi (P - 1_j) and, over the non-targets, softmax - z; over N."""
    logits, middle, label = given
    logits.requires_grad_()
    hard, loss = label.argmax(1), loss_of(alpha=0.6, beta=0.4, mu=0.0)
    terms = loss.terms(logits, middle, hard)
    (found,) = torch.autograd.grad(terms["loss"], logits)
    with torch.no_grad():
        target = torch.nn.functional.one_hot(hard, 5).bool()
        rest = torch.softmax(logits.masked_fill(target, -math.inf), 1)
        expected = 0.6 * terms["pi"] * (torch.softmax(logits, 1) - target.double())
        expected += 0.4 * (rest - terms["labels"])
    torch.testing.assert_close(found, expected / 6)


def test_no_number_is_lost():
    """Logits that are sure of a class: no infinity, no gradient that is none."""
    logits = torch.tensor([[1e4, 0.0, -1e4], [0.0, 1e4, 0.0]], requires_grad=True)
    loss = USKDLoss(dict(logits=3, middle=2))
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for label in (torch.tensor([2, 1]), torch.tensor([[0.0, 0.4, 0.6], [0.2, 0.8, 0.0]])):
            found = value(loss, logits.to(dtype), torch.ones(2, 2, dtype=dtype), label)
            assert found.dtype == torch.float32 and torch.isfinite(found)
            (grad,) = torch.autograd.grad(found, logits)
            assert bool(torch.isfinite(grad).all())


def test_two_classes_that_are_both_targets():
    """Nothing is left beside them: that part is 0."""
    terms = USKDLoss(dict(logits=2, middle=1)).terms(
        torch.tensor([[1.0, 2.0]]), torch.ones(1, 1), torch.tensor([[0.4, 0.6]])
    )
    assert float(terms["nontarget"]) == 0 and torch.isfinite(terms["loss"])


def test_zipf_is_no_weight_of_a_checkpoint():
    loss = USKDLoss(CHANNELS)
    assert list(loss.state_dict()) == ["weak_head.weight", "weak_head.bias"]
    assert loss.to(torch.float32).zipf.tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])


def test_under_autocast_as_without(given):
    logits, middle, label = (each.float() for each in given)
    loss = USKDLoss(CHANNELS)
    plain = value(loss, logits, middle, label.argmax(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(value(loss, logits, middle, label.argmax(1)), plain)


@pytest.mark.parametrize("leading", [0, 1])
def test_the_middle_may_be_a_map_tokens_or_a_vector(given, leading):
    """A map's mean; the class token, or the mean where there is none."""
    logits, _, label = given
    loss, tokens = loss_of(), torch.randn(6, 4, 3, dtype=torch.float64)
    vector = tokens[:, 0] if leading else tokens.mean(1)
    expected = value(loss, logits, vector, label)
    found = loss(
        dict(logits=logits, middle=(tokens, (2, 2))),
        None,
        step_of(label, (leading, None), paths=PATHS),
    )
    torch.testing.assert_close(found, expected)
    maps = tokens.transpose(1, 2).reshape(6, 3, 2, 2)
    found = loss(
        dict(logits=logits, middle=maps), None, step_of(label, (leading, None), paths=PATHS)
    )
    torch.testing.assert_close(found, value(loss, logits, tokens.mean(1), label))


# --------------------------------------------------------------------------- what it refuses
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(alpha=-1), "uskd.alpha must be a finite number of at least 0, got -1"),
        (dict(mu=math.nan), "uskd.mu must be a finite number"),
        (dict(beta="1"), "uskd.beta must be a finite number"),
        (dict(rank_with="log"), "uskd.rank_with='log' is not known; expected one of 'log_prob'"),
        (dict(loss_weight=None), "uskd.loss_weight must be"),
    ],
)
def test_options_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        USKDLoss(CHANNELS, **options)


@pytest.mark.parametrize("channels", [5, dict(logits=5), dict(logits=5, middle=3, more=2)])
def test_taps_that_are_not_its_own(channels):
    with pytest.raises(ValueError, match=r"uskd.module: expected the taps logits and middle"):
        USKDLoss(channels)


@pytest.mark.parametrize(
    ("student", "words"),
    [
        (dict(logits=torch.zeros(2, 4)), r"key: expected class logits \(N, 5\).*\(2, 4\)"),
        (dict(logits=torch.zeros(2, 5, 2, 2)), r"expected class logits .*\(2, 5, 2, 2\)"),
        (dict(logits=(torch.zeros(2, 5),)), "expected class logits .* got tuple"),
        (dict(middle=torch.zeros(2, 4)), r"tap 'middle' \('backbone.layer3'\).* 3 channels.* 4"),
        (dict(middle=torch.zeros(2)), r"tap 'middle'.*expected maps .* got \(2,\)"),
    ],
)
def test_what_taps_may_not_give(student, words):
    given = dict(dict(logits=torch.zeros(2, 5), middle=torch.zeros(2, 3)), **student)
    with pytest.raises(FeatureError, match=words):
        USKDLoss(CHANNELS).check_taps(given, None, step_of(None, (0, None), paths=PATHS), "key")


@pytest.mark.parametrize(
    "label",
    [
        torch.zeros(2, 4),
        torch.zeros(2),
        torch.zeros(2, 1, 2, 2),
        torch.zeros(2, 1).long(),
        torch.zeros(3, 5),
    ],
)
def test_labels_of_other_classes(label):
    with pytest.raises(FeatureError, match=r"uskd: expected labels .*soft ones \(2, 5\)"):
        value(USKDLoss(CHANNELS), torch.zeros(2, 5), torch.zeros(2, 3), label)
