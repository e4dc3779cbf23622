"""SRRL. Oracles: the reference's numbers (test_golden.py), hand arithmetic, a real classifier."""

import copy
from pathlib import Path

import pytest
import torch
from loss_steps import step_of

from freekd import compat, tasks
from freekd.checks import FeatureError
from freekd.losses.srrl import SRRLLoss, srrl_terms

compat.apply()

from freekd.config import load
from freekd.distill.weights import find_module
from freekd.engine import build

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs/srrl/resnet34_resnet18_digits_cls.py")
KEY = "pair.losses.srrl"


class Teacher(torch.nn.Module):
    """A classifier of 3 classes on maps of 6 channels."""

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(6, 3).requires_grad_(False)


class OneLayer:
    """A task that knows where it is."""

    def mean_classifier(self, model, key):
        return "fc"


AT = dict(task=OneLayer(), paths=("backbone", "backbone"))


# --------------------------------------------------------------------------- the equation
def test_by_hand():
    """Means (2, 4) and (1, 1); V = ((1, -1)), b = 7: features (1 + 9) / 2, logits (-2 - 0)^2."""
    student = torch.tensor([1.0, 3.0, 4.0, 4.0]).view(1, 2, 1, 2)
    terms = srrl_terms(
        student, torch.ones(1, 2, 1, 2), torch.tensor([[1.0, -1.0]]), torch.tensor([7.0])
    )
    assert float(terms.features) == 5 and float(terms.logits) == 4
    assert float(terms.student_logits) == 5 and float(terms.teacher_logits) == 7


def test_the_connector_and_the_weights():
    """A batch norm by hand: biased variance, eps 1e-5."""
    torch.manual_seed(0)
    loss = SRRLLoss(4, 6, alpha=0.5, beta=2.0, loss_weight=10.0).double()
    teacher = Teacher().double()
    s, t = (torch.randn(3, c, 5, 4, dtype=torch.float64) for c in (4, 6))
    mapped = torch.einsum("oc,nchw->nohw", loss.connector[0].weight[:, :, 0, 0], s)
    centred = mapped - mapped.mean((0, 2, 3), keepdim=True)
    normed = centred / (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()
    a, mean = normed.clamp(min=0).mean((2, 3)), t.mean((2, 3))
    logits = (a - mean) @ teacher.fc.weight.T
    expected = 10 * (0.5 * (a - mean).square().mean() + 2 * logits.square().mean())
    torch.testing.assert_close(
        loss(s, t, step_of(teacher=teacher, **AT)), expected, rtol=1e-10, atol=0
    )


def test_the_connector_begins_as_published():
    """N(0, sqrt(2 / C)) without bias."""
    torch.manual_seed(0)
    loss = SRRLLoss(64, 200)
    conv, norm, _ = loss.connector
    assert conv.bias is None and norm.eps == 1e-5
    assert float(conv.weight.detach().std()) == pytest.approx(0.1, rel=0.02)
    assert float(conv.weight.detach().mean()) == pytest.approx(0.0, abs=0.003)


def test_the_teacher_only_shows_the_way():
    """A gradient comes through V to the student; neither V nor the teacher's map has one."""
    torch.manual_seed(0)
    teacher = Teacher().requires_grad_(True)
    loss = SRRLLoss(4, 6, alpha=0.0)
    s, t = torch.randn(2, 4, 3, 3, requires_grad=True), torch.randn(2, 6, 3, 3, requires_grad=True)
    loss(s, t, step_of(teacher=teacher, **AT)).backward()
    assert float(s.grad.abs().max()) > 0
    assert t.grad is None and teacher.fc.weight.grad is None and teacher.fc.bias.grad is None


def test_low_precision_comes_as_it_is():
    torch.manual_seed(0)
    loss, teacher = SRRLLoss(4, 6), Teacher()
    s, t = torch.randn(2, 4, 3, 3).bfloat16(), torch.randn(2, 6, 3, 3).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(s, t, step_of(teacher=teacher, **AT))
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(s.float(), t.float(), step_of(teacher=teacher, **AT)))


def test_the_last_of_several_maps_counts():
    torch.manual_seed(0)
    loss = SRRLLoss([2, 4], [3, 6], num_levels=2)
    s, t = torch.randn(2, 4, 3, 3), torch.randn(2, 6, 3, 3)
    value = loss(
        [torch.randn(2, 2, 6, 6), s], [torch.randn(2, 3, 6, 6), t], step_of(teacher=Teacher(), **AT)
    )
    assert loss.connector[0].in_channels == 4 and value.dim() == 0


# --------------------------------------------------------------------------- a pair of classifiers
@pytest.fixture
def algorithm():
    torch.manual_seed(0)
    return build.build_model(load.load_config(CONFIG), "cls").train()


def batch():
    return dict(
        img=torch.randn(4, 3, 32, 32), gt_label=torch.tensor([0, 9, 1, 1]), img_metas=[{}] * 4
    )


def test_steps_leave_the_teacher_bit_for_bit(algorithm):
    """Weights and statistics, its classifier's too; the connector and the student learn."""
    teacher = algorithm.distiller.teacher
    before = copy.deepcopy(teacher.state_dict())
    learning = [p for p in algorithm.parameters() if p.requires_grad]
    own = {id(p) for p in teacher.parameters()}
    assert len(own) > 50 and not own & {id(p) for p in algorithm.parameters()}
    connector = algorithm.distiller.losses["loss_srrl"].connector[0].weight
    first = algorithm.architecture.model.backbone.conv1.weight
    was = [connector.detach().clone(), first.detach().clone()]
    optimizer = torch.optim.SGD(learning, lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        algorithm.train_step(batch(), None)["loss"].backward()
        optimizer.step()
    after = teacher.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert not torch.equal(connector, was[0]) and not torch.equal(first, was[1])
    names = [name for name in algorithm.state_dict() if "loss_srrl" in name]
    expected = {"0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var",
                "1.num_batches_tracked"}  # fmt: skip
    start = "distiller.losses.loss_srrl.connector."
    assert {name[len(start) :] for name in names} == expected
    assert all(name.startswith(start) for name in names)


def test_a_step_by_hand(algorithm):
    """lt are the teacher's own logits, and the term is the equation's."""
    student, teacher = algorithm.architecture.model, algorithm.distiller.teacher
    loss, data = algorithm.distiller.losses["loss_srrl"], batch()
    assert loss.classifier_path == "head.fc"
    mirror, connector = copy.deepcopy(student), copy.deepcopy(loss.connector)
    log = algorithm.train_step(data, None)["log_vars"]
    with torch.no_grad():
        a = connector(mirror.backbone(data["img"])[-1]).mean((2, 3))
        t = teacher.extract_feat(data["img"])[-1]
        own = teacher.head.simple_test((t,), softmax=False, post_process=False)
        apart = teacher.head.fc(a) - own
        expected = (a - t).square().mean() + 5 * apart.square().mean()
    assert log["distiller.loss_srrl.0"] == pytest.approx(float(expected), rel=1e-4)


def refuse(cfg, words):
    with pytest.raises(ValueError, match=words):
        build.build_model(load.load_config(CONFIG, cfg), "cls")


def test_teachers_without_such_a_classifier():
    """Said before training, of each with what it has."""
    stacked = dict(type="StackedLinearClsHead", num_classes=10, in_channels=128, mid_channels=[16])
    refuse({"pair.teacher": with_parts(head=stacked)}, "GlobalAveragePooling and StackedLinear")
    pooled = dict(type="GeneralizedMeanPooling", p=4.0)
    refuse({"pair.teacher": with_parts(neck=pooled)}, f"{KEY}: .*GeneralizedMeanPooling and Linear")
    refuse({"pair.losses.srrl.module": "backbone.layer3"}, "takes 128 channels, .*'backbone.layer3")


def with_parts(**parts):
    from freekd.zoo.stock import read_model

    model = read_model(str(ROOT / "configs/_base_/models/resnet34_digits_cls.py"), "teacher")
    for name, part in parts.items():
        model[name] = part
    return dict(model, _delete_=True)


def test_a_task_without_classifiers():
    with pytest.raises(ValueError, match=f"{KEY}: expected a classifier .*detection.* has none"):
        tasks.get("det").mean_classifier(torch.nn.Identity(), KEY)
    with pytest.raises(ValueError, match=f"{KEY}: .* the pair has no teacher"):
        SRRLLoss(4, 6).check_models(step_of(), KEY)


def test_the_check_of_a_teacher_leaves_no_trace(algorithm):
    """No random number is drawn, no statistic moves."""
    teacher = algorithm.distiller.teacher
    before, state = copy.deepcopy(teacher.state_dict()), torch.get_rng_state()
    assert tasks.get("cls").mean_classifier(teacher, KEY) == "head.fc"
    assert find_module(teacher, "head.fc", KEY).in_features == 128
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


# --------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(beta=-1), "srrl.beta must be a finite number of at least 0, got -1"),
        (dict(alpha="1"), "srrl.alpha .*got '1'"),
        (dict(num_levels=0), "num_levels must be an integer from 1"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(ValueError, match=words):
        SRRLLoss(4, 6, **options)


def test_a_part_may_be_left_out():
    """beta is a weight here, no divisor."""
    cfg = load.load_config(CONFIG, {"pair.losses.srrl.beta": 0.0})
    assert cfg.algorithm.distiller.components[0].losses[0].beta == 0.0


def test_logits_where_maps_are_wanted():
    with pytest.raises(FeatureError, match=r"expected \(N, 4, H, W\) .*got \(2, 4\)"):
        SRRLLoss(4, 6).check_feats(torch.zeros(2, 4), torch.zeros(2, 6, 3, 3))
