"""Level granularity equals the authors' released code, on the numbers it gave (tests/golden).

Their layout is another one than that of test_golden.py. ``FREEKD_GOLDEN`` names another folder.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from freekd.frequency import HAAR, dwt2
from freekd.losses.freekd import freekd_loss
from freekd.prompts.file import load_prompts
from freekd.prompts.masks import prompt_masks
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.reconstruction import masked_reconstruction

GOLDEN = Path(__file__).parents[1] / "golden"
FOLDER = Path(os.environ.get("FREEKD_GOLDEN") or GOLDEN)
LEVELS = range(5)


@pytest.fixture(scope="module", params=sorted(FOLDER.glob("freekd_*.npz")), ids=lambda p: p.stem)
def golden(request):
    with np.load(request.param) as file:
        return {name: torch.from_numpy(np.array(file[name])) for name in file.files}


def release_loss(golden):
    students = [golden[f"student_{i}"].clone().requires_grad_() for i in LEVELS]
    total = torch.zeros(())
    for i, student in zip(LEVELS, students):
        teacher = golden[f"teacher_{i}"]
        masks = prompt_masks(golden[f"mask_token_{i}"], dwt2(teacher), granularity="level")
        total = total + freekd_loss(student, teacher, masks, granularity="level", bands="high")
    return total, students


@pytest.mark.golden
def test_loss_and_gradient(golden):
    loss, students = release_loss(golden)
    torch.testing.assert_close(loss.detach(), golden["loss"], rtol=1e-6, atol=0)
    loss.backward()
    for i, student in zip(LEVELS, students):
        torch.testing.assert_close(student.grad, golden[f"student_grad_{i}"], rtol=1e-5, atol=1e-8)


@pytest.mark.golden
@pytest.mark.parametrize("level", LEVELS)
def test_masked_reconstruction_and_dice(golden, level):
    teacher = golden[f"teacher_{level}"]
    out, masks = masked_reconstruction(
        teacher, golden[f"mask_token_{level}"], granularity="level", crop=False
    )
    torch.testing.assert_close(out, golden[f"masked_teacher_{level}"], rtol=1e-5, atol=1e-5)
    dice = FrequencyPrompts.dissimilarity([masks], "dice")
    torch.testing.assert_close(dice, golden[f"dice_{level}"].float(), rtol=1e-5, atol=0)
    cropped, _ = masked_reconstruction(teacher, golden[f"mask_token_{level}"], granularity="level")
    height, width = teacher.shape[-2:]
    assert torch.equal(cropped, out[..., :height, :width])


def test_release_prompt_file_loads():
    loaded = load_prompts(str(GOLDEN / "release_layout_prompt_t2.pth"))
    spec = loaded.prompts.spec
    assert (spec.channels, spec.num_prompts, spec.transform) == ((8,) * 5, 2, HAAR)
    assert (spec.granularity, spec.gate) == ("level", None)
    with np.load(GOLDEN / "freekd_official_t2.npz") as file:
        for i in LEVELS:
            assert np.array_equal(loaded.prompts.prompts[i].numpy(), file[f"mask_token_{i}"])
    assert not any(p.requires_grad for p in loaded.prompts.parameters())


@pytest.mark.parametrize("said", [dict(), dict(granularity="level", gate=None, num_prompts=2)])
def test_release_prompts_through_the_registered_loss(said):
    """The public way: FreeKDLoss with the release's file gives the release's loss."""
    from freekd import FreeKDLoss

    with np.load(GOLDEN / "freekd_official_t2.npz") as file:
        golden = {name: torch.from_numpy(np.array(file[name])) for name in file.files}
    loss = FreeKDLoss(
        8, 8, 5, bands="high", loss_weight=1.0, **said,
        prompts=str(GOLDEN / "release_layout_prompt_t2.pth"),
    )  # fmt: skip
    students = [golden[f"student_{i}"].requires_grad_() for i in LEVELS]
    value = loss(tuple(students), tuple(golden[f"teacher_{i}"] for i in LEVELS))
    torch.testing.assert_close(value.detach(), golden["loss"], rtol=1e-6, atol=0)
    value.backward()
    for i, student in zip(LEVELS, students):
        torch.testing.assert_close(student.grad, golden[f"student_grad_{i}"], rtol=1e-5, atol=1e-8)


def test_there_are_numbers():
    """A folder without them is no reason to pass."""
    assert len(list(GOLDEN.glob("freekd_*.npz"))) == 2
