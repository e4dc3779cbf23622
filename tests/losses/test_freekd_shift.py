"""FreeKD's ``shift``: maps, weights and gates move together."""

import pytest
import torch

from freekd.frequency.shift import moved
from freekd.losses import freekd as module
from freekd.losses.freekd import FreeKDLoss
from freekd.losses.step import Step
from freekd.prompts.file import save_prompts
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec

SIZES = ((16, 24), (8, 16))  # whole blocks of 8 x 8
BOX = torch.tensor([[10.0, 20.0, 90.0, 70.0]])
STEP = Step(dict(img=torch.zeros(2, 3, 128, 192), gt_bboxes=[BOX, BOX / 2]), torch.nn.Identity())


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(0)
    return [[torch.randn(2, 4, *size, generator=generator) for size in SIZES] for _ in range(2)]


def prompt_file(tmp_path, **spec):
    torch.manual_seed(0)
    made = FrequencyPrompts(PromptSpec.build(4, 2, **spec), init_std=1.0)
    for parameter in made.parameters():  # a fresh gate is 1
        parameter.data.add_(torch.randn_like(parameter))
    path = str(tmp_path / "prompts.pth")
    save_prompts(made, path)
    return path


def with_offset(monkeypatch, offset):
    monkeypatch.setattr(module, "random_offset", lambda transform: offset)


@pytest.mark.parametrize(
    "spec, options",
    [
        (None, dict()),
        (None, dict(where="energy")),
        (None, dict(where="boxes")),
        (None, dict(transform=dict(type="dct", block=8), where="boxes")),
        (dict(gate=None), dict()),
        (dict(gate=None), dict(mask_norm="sum", student_masks_from=1, normalize="channel")),
        (dict(gate="position"), dict()),
        (dict(gate="nonlocal"), dict(distance="l1")),
    ],
)
def test_moved_by_whole_blocks_the_loss_is_as_before(tmp_path, monkeypatch, maps, spec, options):
    """So whatever weights places has moved with the maps."""
    prompts = None if spec is None else prompt_file(tmp_path, **spec)
    said = {"distance": "l2", "prompts": prompts, **options}

    def second_step(**shift):
        loss = FreeKDLoss(4, 4, 2, **said, **shift)
        loss(*maps, step=STEP)
        return loss(*maps, step=STEP)

    still = second_step()
    with_offset(monkeypatch, (8, 16))
    torch.testing.assert_close(second_step(shift=True), still)
    with_offset(monkeypatch, (3, 5))
    assert not torch.allclose(second_step(shift=True), still)


def test_moved_by_less_it_is_that_of_moved_maps(tmp_path, monkeypatch, maps):
    prompts = prompt_file(tmp_path, gate=None)
    still = FreeKDLoss(4, 4, 2, prompts=prompts)
    with_offset(monkeypatch, (3, 5))
    student = [feat.requires_grad_() for feat in maps[0]]
    by_hand = still(*[[moved(feat, (3, 5)) for feat in side] for side in (student, maps[1])])
    ours = FreeKDLoss(4, 4, 2, prompts=prompts, shift=True)(student, maps[1])
    torch.testing.assert_close(ours, by_hand)
    for one, other in zip(*(torch.autograd.grad(x, student) for x in (ours, by_hand))):
        torch.testing.assert_close(one, other)


def test_each_step_has_its_own_offset_and_a_seed_decides(maps):
    loss = FreeKDLoss(4, 4, 2, shift=True)
    torch.manual_seed(3)
    values = [loss(*maps).item() for _ in range(5)]
    torch.manual_seed(3)
    assert [loss(*maps).item() for _ in range(5)] == values
    assert len(set(values)) == 5


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(shift=1), "x.shift must be True or False"),
        (dict(shift=True, transform="dct"), "x.shift=True needs coefficients .* Remove x.shift"),
    ],
)
def test_refused_by_the_config(options, words):
    with pytest.raises(ValueError, match=words):
        FreeKDLoss.check_options(options, "x")


def test_refused_with_prompts_of_another_transform(tmp_path):
    with pytest.raises(ValueError, match="shift=True needs coefficients"):
        FreeKDLoss(4, 4, 2, prompts=prompt_file(tmp_path, transform="dft"), shift=True)
