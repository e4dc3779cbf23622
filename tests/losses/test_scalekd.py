"""ScaleKD. Oracles: the reference's numbers (test_golden.py), hand arithmetic, properties."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from freekd.checks import FeatureError
from freekd.losses.scalekd import ScaleKDLoss
from freekd.losses.stage import heads_for, in_float64, view_loss
from freekd.losses.stage_options import StageOptions

STAGE3 = dict(student_dims=5, teacher_dims=4, query_hw=(4, 4), pos_hw=(4, 4), num_heads=2)
STAGE4 = dict(student_dims=6, teacher_dims=8, query_hw=(2, 2), pos_hw=(2, 2), num_heads=2)


class Both(ScaleKDLoss):
    """With a tail of its own: means of 2 x 2 tokens, a linear layer, layer norm."""

    detached = False

    def teacher_tail(self, step, key=""):
        torch.manual_seed(7)
        layer = nn.Linear(4, 8).requires_grad_(False).to(self.dtype)

        def tail(tokens):
            tokens = tokens.detach() if self.detached else tokens
            feat = tokens.transpose(1, 2).reshape(len(tokens), 4, 4, 4)
            tokens = nn.functional.avg_pool2d(feat, 2).flatten(2).transpose(1, 2)
            return nn.functional.layer_norm(layer(tokens), (8,))

        return tail

    @property
    def dtype(self):
        return next(self.parameters()).dtype


def both(**options):
    torch.manual_seed(0)
    stages = dict(stage3=STAGE3, stage4=STAGE4)
    stages.update(options)
    return Both(**stages).double()


def maps(seed=1):
    torch.manual_seed(seed)
    student = dict(
        s3=torch.randn(3, 5, 4, 4, dtype=torch.float64, requires_grad=True),
        s4=torch.randn(3, 6, 2, 2, dtype=torch.float64, requires_grad=True),
    )
    return student, dict(s4=torch.randn(3, 8, 2, 2, dtype=torch.float64))


# --------------------------------------------------------------------------- the views
def test_views_by_hand():
    """Two images; without the mean over both positions two vectors of opposite sign are left."""
    tokens = torch.tensor([[[3.0, 4.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]]])
    target = torch.tensor([[[0.0, 1.0], [0.0, 5.0]], [[1.0, 0.0], [0.0, 7.0]]])
    # (.6, .8) against (0, 1): .36 + .04; all else is alike; divided by two images
    assert float(view_loss(tokens, target)) == pytest.approx(0.4 / 2)
    # first: (1.5, 1) / sqrt(3.25) against (0, -1): 2 + 2 / sqrt(3.25), and the same at its opposite
    # second: (.5, -.5) against (.5, -3.5): 2 - 2 cos, cos = 2 / (sqrt(.5) sqrt(12.5))
    first, second = 2 + 2 / 3.25**0.5, 2 - 2 * 2 / (0.5**0.5 * 12.5**0.5)
    found = float(view_loss(tokens, target, without_mean=True))
    assert found == pytest.approx((2 * first + 2 * second) / 2, rel=1e-6)


@pytest.mark.parametrize("without_mean", [False, True])
def test_the_scale_of_tokens_does_not_count(without_mean):
    torch.manual_seed(0)
    tokens, target = torch.randn(2, 2, 9, 4, dtype=torch.float64)
    value = view_loss(tokens, target, without_mean)
    assert torch.allclose(view_loss(3 * tokens, 0.5 * target, without_mean), value)


def test_what_is_added_everywhere_does_not_count_without_the_mean():
    torch.manual_seed(0)
    tokens, target = torch.randn(2, 2, 9, 4, dtype=torch.float64)
    added = torch.randn(2, 1, 4, dtype=torch.float64)
    value = view_loss(tokens, target, True)
    assert torch.allclose(view_loss(tokens + added, target - added, True), value)
    assert not torch.allclose(view_loss(tokens + added, target), view_loss(tokens, target))


def test_the_zero_frequency_is_the_mean():
    """An orthonormal DCT-II, its first coefficient zeroed, and back."""
    scipy_fft = pytest.importorskip("scipy.fft")
    feat = np.random.RandomState(0).randn(5, 4, 4)
    spectrum = scipy_fft.dctn(feat, axes=(1, 2), norm="ortho")
    spectrum[:, 0, 0] = 0
    back = scipy_fft.idctn(spectrum, axes=(1, 2), norm="ortho")
    tokens = torch.from_numpy(feat).flatten(1).t()[None]
    filtered = torch.from_numpy(back).flatten(1).t()[None]
    target = torch.randn(1, 16, 5, dtype=torch.float64)
    target = target - target.mean(1, keepdim=True)
    assert torch.allclose(view_loss(tokens, target, True), view_loss(filtered, target))


# --------------------------------------------------------------------------- stages
def test_stage_4_trains_stage_3_through_its_queries():
    """Without the tail's gradient S3 gets another one; from stage 4's terms alone it gets some."""
    grads = {}
    for detached in (False, True):
        loss, (student, teacher) = both(), maps()
        loss.detached = detached
        loss(student, teacher).backward()
        grads[detached] = student["s3"].grad
    assert grads[False].abs().max() > 0 and grads[True] is None
    loss, (student, teacher) = both(), maps()
    terms = loss.terms(student, teacher)
    (terms["stage4_spatial"] + terms["stage4_frequency"]).backward()
    assert student["s3"].grad.abs().max() > 1e-6
    own = [p.grad for n, p in loss.named_parameters() if n.startswith("stages.stage3.")]
    assert all(grad is not None for grad in own)


def test_the_sum_of_its_terms():
    loss, (student, teacher) = both(loss_weight=2.0), maps()
    terms = loss.terms(student, teacher)
    assert list(terms) == [
        "stage3_spatial", "stage3_frequency", "stage4_spatial", "stage4_frequency",
    ]  # fmt: skip
    assert torch.allclose(loss(student, teacher), 2 * sum(terms.values()))
    weighed = both(stage3=dict(STAGE3, alpha=(0.16, 0.06)))
    doubled = weighed.terms(student, teacher)
    assert torch.allclose(doubled["stage3_spatial"], 2 * terms["stage3_spatial"])
    assert torch.allclose(doubled["stage4_frequency"], terms["stage4_frequency"])


@pytest.mark.parametrize(
    ("options", "views", "tables"),
    [
        (dict(), ["stage3 sf", "stage4 sf"], ["stage3"]),
        (dict(stage3=None), ["stage4 sf"], ["stage4"]),
        (dict(stage4=None), ["stage3 sf"], ["stage3"]),
        (dict(stage4=dict(STAGE4, alpha=(0.08, 0))), ["stage3 sf", "stage4 s"], ["stage3"]),
        # stage 4's frequency view wants queries: stage 3 makes them, without a term of its own
        (dict(stage3=dict(STAGE3, alpha=(0.08, 0))), ["stage3 sf", "stage4 sf"], ["stage3"]),
        (dict(stage3=dict(STAGE3, alpha=(0.08, 0)), stage4=dict(STAGE4, alpha=(0.1, 0))),
         ["stage3 s", "stage4 s"], ["stage3"]),
    ],
)  # fmt: skip
def test_nothing_is_built_that_learns_nothing(options, views, tables):
    """So that several processes need no search for unused parameters."""
    loss, (student, teacher) = both(**options), maps()
    found = [f"{name} {''.join(view[0] for view in s.views)}" for name, s in loss.stages.items()]
    assert found == views
    with_table = {n.split(".")[1] for n, _ in loss.named_parameters() if "query_table" in n}
    assert sorted(with_table) == tables
    loss(student, teacher).backward()
    assert not [name for name, p in loss.named_parameters() if p.grad is None]
    # all of it matters but what theory says does not: the bias of keys, and before batch norm;
    # in the frequency view whatever is added everywhere
    still = [n for n, p in loss.named_parameters() if p.grad.abs().max() < 1e-12]
    still = [n for n in still if "frequency" not in n or "bias" not in n]
    assert all("attn_key.bias" in n or "student_conv.bias" in n for n in still)


def test_heads_of_its_own():
    assert StageOptions.read({}, "stage4").lacks
    loss = both(stage4=dict(STAGE4, num_heads=None))
    assert loss.stages["stage4"].views["spatial"].num_heads == heads_for(8) == 1
    with_two = both(stage4=dict(STAGE4, softmax_scale=(1.0, 5.0)))
    square = both(stage4=dict(STAGE4, query_hw=2, pos_hw=2)).stages["stage4"]
    assert square.query_hw == square.pos_hw == (2, 2)
    scales = [pi.softmax_scale for pi in with_two.stages["stage4"].views.values()]
    assert scales == [1.0, 5.0]


def test_float64_keeps_the_statistics_of_norms():
    """The exact view's module is the plain one, whatever it is computed in."""
    torch.manual_seed(0)
    plain = both().float().stages["stage4"].views["frequency"]
    plain.train()
    exact = copy.deepcopy(plain)
    args = torch.randn(3, 6, 2, 2), torch.randn(3, 4, 8)
    torch.testing.assert_close(in_float64(exact, *args).float(), plain(*args))
    for ours, theirs in zip(exact.state_dict().values(), plain.state_dict().values()):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs)
    assert int(exact.student_norm.num_batches_tracked) == 1


@pytest.mark.parametrize("how", ["autocast", "maps"])
def test_bfloat16(how):
    """Under autocast, and where the maps come in it: near the value of float32, all finite."""
    loss, (student, teacher) = both().float(), maps()
    student = {name: x.detach().float().requires_grad_() for name, x in student.items()}
    teacher = {name: x.float() for name, x in teacher.items()}
    exact = loss(student, teacher)
    if how == "autocast":
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = loss(student, teacher)
    else:
        value = loss({name: x.bfloat16() for name, x in student.items()}, teacher)
    assert value.dtype == torch.float32
    assert float(value.detach()) == pytest.approx(float(exact.detach()), rel=0.05)
    assert value.item() != exact.item()
    value.backward()
    assert all(torch.isfinite(p.grad).all() for p in loss.parameters())


# --------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(stage3=None, stage4=None), "stage3=None and stage4=None leave nothing"),
        (dict(stage3=7), "stage3 must be a dict of options, or None, got 7"),
        (dict(stage3=dict(query=1)), "stage3: unknown option 'query'; .* Did you mean query_hw"),
        (dict(stage4=dict(alpha=0.08)), "stage4.alpha must be two weights"),
        (dict(stage4=dict(alpha=(1, -1))), "stage4.alpha must be a finite number of at least 0"),
        (dict(stage4=dict(alpha=(0, 0))), "leaves nothing: write stage4=None"),
        (dict(stage4=dict(STAGE4, num_heads=3)), "stage4.num_heads=3: the teacher's 8 channels"),
        (dict(stage4=dict(STAGE4, query_hw=(2,))), r"stage4.query_hw must be \(height, width\)"),
        (dict(stage4=dict(softmax_scale=(1, 2, 3))), "stage4.softmax_scale must be a number, or"),
        (dict(stage4=dict(norm="group")), "stage4.norm='group' is not known"),
        (dict(stage4=dict(student_index="a")), "stage4.student_index must be an integer"),
        (dict(stage4=dict(STAGE4, pos_hw=None)), "stage4.pos_hw: expected it where the models"),
        (dict(stage4=dict(student_index=True)), "stage4.student_index must be an integer, .* True"),
        (
            dict(student_shapes=3),
            r"student_shapes must be a dict from a tap, s3 or s4.* got 3. Cor",
        ),
        (dict(teacher_shapes=dict(s3=[4, 4])), "teacher_shapes must be a dict from a tap"),
        (dict(teacher_shapes=dict(s5=[4, 4, 4])), "teacher_shapes must be a dict from a tap"),
        (dict(teacher_shapes=dict(s4=[8, 2, 0])), "teacher_shapes.s4 must be an integer from 1"),
        (dict(tail="backbone.stages.3"), "tail must be a list of module paths"),
        (dict(tail_maps=True), "tail_maps=True is for a tail that is given"),
    ],
)
def test_options_that_are_none(options, message):
    stages = dict(stage3=STAGE3, stage4=STAGE4)
    with pytest.raises(ValueError, match=message):
        ScaleKDLoss(**{**stages, **options})


@pytest.mark.parametrize(
    ("side", "change", "message"),
    [
        ("student", dict(s3=torch.zeros(1, 5, 3, 3)),
         r"stage3.student_dims=5 and stage3.pos_hw=\(4, 4\): .*student's tap, got \(1, 5, 3, 3\)"),
        ("student", dict(s4=torch.zeros(1, 7, 2, 2)), "stage4.student_dims=6 .*got .1, 7, 2, 2"),
        ("teacher", dict(s4=torch.zeros(1, 8, 4, 4)), r"stage4.query_hw=\(2, 2\): .*teacher's tap"),
        ("teacher", dict(s4=torch.zeros(1, 8)), r"stage4 \(teacher\): expected a map"),
        ("student", dict(s4=torch.zeros(1, 3, 6)), "3 tokens are no grid of 2 x 2"),
    ],
)  # fmt: skip
def test_feats_that_do_not_fit(side, change, message):
    loss, (student, teacher) = both(), maps()
    sides = dict(student=student, teacher=teacher)
    sides[side] = {**sides[side], **change}
    with pytest.raises(FeatureError, match=message):
        loss.check_feats(**sides)


def test_taps_that_are_missing():
    loss, (student, teacher) = both(), maps()
    said = r"module \(student\): expected the taps s3, s4, got s4. Add s3, or leave its stage out"
    with pytest.raises(FeatureError, match=said):
        loss({"s4": student["s4"]}, teacher)
    with pytest.raises(
        FeatureError, match=r"module \(teacher\): expected the taps s4, got s3. Add"
    ):
        loss(student, {"s3": student["s3"]})
    said = (
        r"key: module \(student\): expected the taps s3, s4, got s3, s4, s5. Remove s5, or correct"
    )
    with pytest.raises(FeatureError, match=said):
        loss.check_taps({**student, "s5": student["s4"]}, teacher, None, "key")
    with pytest.raises(ValueError, match="stage3: expected a teacher whose tail it can use"):
        ScaleKDLoss(stage3=STAGE3, stage4=STAGE4)(*maps())


def test_golden_files_are_here():
    names = {path.stem for path in (Path(__file__).parents[1] / "golden").glob("scalekd_*.npz")}
    assert {"scalekd_full_open", "scalekd_query_open", "scalekd_selfquery_open"} <= names
