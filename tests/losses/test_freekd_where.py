"""FreeKD's choice of places: each form against weights that are put in by hand."""

from types import SimpleNamespace

import pytest
import torch

from freekd.checks import FeatureError
from freekd.frequency import HAAR
from freekd.losses.align import as_teacher_scaled
from freekd.losses.band_distance import weighted_distance
from freekd.losses.freekd import FreeKDLoss
from freekd.losses.step import Step
from freekd.prompts.file import save_prompts
from freekd.prompts.masks import mask_weight
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec
from freekd.prompts.where import energy_weights

SIZES = ((16, 24), (8, 12))


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(0)
    return [[torch.randn(2, 4, *size, generator=generator) for size in SIZES] for _ in range(2)]


@pytest.fixture(params=[None, "nonlocal"])
def gate(request):
    return request.param


@pytest.fixture
def gated(tmp_path, gate):
    return prompt_file(tmp_path, gate)


@pytest.fixture
def prompts(tmp_path):
    return prompt_file(tmp_path, None)


def prompt_file(tmp_path, gate):
    torch.manual_seed(0)
    made = FrequencyPrompts(PromptSpec.build(4, 2, gate=gate), init_std=1.0)
    for parameter in made.parameters():  # a fresh gate is 1
        parameter.data.add_(torch.randn_like(parameter))
    path = str(tmp_path / "prompts.pth")
    save_prompts(made, path)
    return path


def build(**options):
    return FreeKDLoss(4, 4, 2, distance="l2", **options)


def by_hand(maps, weights, **options):
    return sum(
        weighted_distance(s, t, w, distance="l2", **options) for s, t, w in zip(*maps, weights)
    )


def test_energy(maps):
    weights = [energy_weights(feat, HAAR) for feat in maps[1]]
    expected = by_hand(maps, weights)
    torch.testing.assert_close(build(where="energy")(*maps), expected)


def test_none_leaves_the_prompts_out(maps, gated):
    """And their gate."""
    loss = build(prompts=gated, where=None)
    torch.testing.assert_close(loss(*maps), build()(*maps))


def test_boxes_of_the_whole_image_count_alike(maps):
    """And a box over the left half with all of the weight doubles it there, without the rest."""
    whole = [torch.tensor([[0.0, 0.0, 192.0, 128.0]])] * 2
    image = torch.zeros(2, 3, 128, 192)
    step = Step(dict(img=image, gt_bboxes=whole), torch.nn.Identity())
    torch.testing.assert_close(build(where="boxes")(*maps, step=step), build()(*maps))
    half = Step(
        dict(img=image, gt_bboxes=[torch.tensor([[0.0, 0.0, 96.0, 128.0]])] * 2),
        torch.nn.Identity(),
    )
    size = SIZES[0]
    loss = FreeKDLoss(4, 4, 1, distance="l2", where="boxes", box_share=1.0)
    finest = loss.place_weights([maps[0][0]], [maps[1][0]], half)[0][1]
    assert finest[:, :, : size[1] // 4].eq(2).all() and finest[:, :, size[1] // 4 :].eq(0).all()


def test_masks_of_the_mean_one(maps, prompts):
    """Whatever the size of the masks, the loss has that of one without."""
    loss = build(prompts=prompts, mask_norm="mean")
    masks = loss.prompts.masks(maps[1])
    weights = [[mask_weight(mask, "l2") for mask in level] for level in masks]
    weights = [[w / w.mean((1, 2), keepdim=True) for w in level] for level in weights]
    torch.testing.assert_close(loss(*maps), by_hand(maps, weights))


def test_boxes_need_places():
    with pytest.raises(ValueError, match="where='boxes' needs coefficients that have a place"):
        build(where="boxes", transform="dft")


def test_boxes_are_for_detection():
    step = Step({}, torch.nn.Identity(), task=SimpleNamespace(name="seg", noun="segmentation"))
    with pytest.raises(ValueError, match="x.where='boxes' is for detection"):
        build(where="boxes").check_models(step, "x")
    build(where="energy").check_models(step, "x")


def test_boxes_need_a_batch_with_boxes(maps):
    with pytest.raises(FeatureError, match="where='boxes': expected a batch with the boxes"):
        build(where="boxes")(*maps)


@pytest.mark.parametrize("normalize", [None, "channel"])
def test_the_students_masks_join_after_so_many_steps(maps, prompts, normalize):
    """Before: the published weights. Then products with the masks of the student's maps."""
    loss = build(prompts=prompts, student_masks_from=2, normalize=normalize).train()
    plain = build(prompts=prompts, normalize=normalize)(*maps)
    for _ in range(2):
        torch.testing.assert_close(loss(*maps), plain)
    students = maps[0]
    if normalize is not None:
        students = [as_teacher_scaled(s, t) for s, t in zip(*maps)]
    sides = [loss.prompts.masks(side) for side in (students, maps[1])]
    weights = [[mask_weight(a * b, "l2") for a, b in zip(*level)] for level in zip(*sides)]
    torch.testing.assert_close(loss(*maps), by_hand(maps, weights, normalize=normalize))
    assert int(loss.state_dict()["steps"]) == 3  # so a resumed run goes on
    loss.eval()(*maps)
    assert int(loss.steps) == 3


def test_no_gradient_goes_through_the_students_masks(maps, prompts):
    """The gradient is that of fixed weights."""
    student = [feat.clone().requires_grad_() for feat in maps[0]]
    loss = build(prompts=prompts, student_masks_from=1).train()
    loss(*maps)
    got = torch.autograd.grad(loss(student, maps[1]), student)
    weights = loss.place_weights(maps[0], maps[1])
    expected = torch.autograd.grad(by_hand([student, maps[1]], weights), student)
    for one, other in zip(got, expected):
        torch.testing.assert_close(one, other)


def test_a_student_on_the_teachers_scale():
    student, teacher = torch.randn(3, 2, 5, 5) * 7 + 3, torch.randn(3, 2, 5, 5) * 2 - 1
    scaled = as_teacher_scaled(student, teacher)
    for of in (torch.mean, torch.std):
        found, expected = (of(x, dim=(0, 2, 3)) for x in (scaled, teacher))
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(where="prompts"), "x.where='prompts' needs x.prompts"),
        (dict(mask_norm="sum"), "x.mask_norm='sum' is of prompts' masks"),
        (dict(prompts="p.pth", where="energy", mask_norm="sum"), "x.where='energy'"),
        (dict(student_masks_from=5), "x.student_masks_from=5 is of prompts' masks"),
        (dict(prompts="p.pth", student_masks_from=0), "x.student_masks_from must be an integer"),
        (dict(where="here"), "x.where"),
        (dict(box_share=0.3), "x.box_share=0.3 is of boxes, and here x.where='auto'"),
        (dict(where="boxes", box_share=2), "x.box_share must be a number from 0 to 1"),
    ],
)
def test_options_that_do_not_go_together(options, words):
    with pytest.raises(ValueError, match=words):
        FreeKDLoss.check_options(options, "x")
