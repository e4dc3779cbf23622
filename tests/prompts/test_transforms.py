"""Prompts on the bands of a DCT and a DFT: identity, learning, the loss of stage 2 written out."""

import pytest
import torch

from freekd.frequency import CosineTransform, FourierTransform
from freekd.losses.freekd import FreeKDLoss, freekd_loss
from freekd.prompts.file import load_prompts, save_prompts
from freekd.prompts.masks import masks_of, prompt_masks
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.reconstruction import masked_reconstruction
from freekd.prompts.spec import PromptSpec

every_transform = pytest.mark.parametrize(
    "transform", [CosineTransform(), CosineTransform(block=8), FourierTransform()], ids=repr
)
every_granularity = pytest.mark.parametrize("granularity", ["band", "level"])


def feats(seed=0, dtype=torch.float32):
    gen = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 4, *s, generator=gen, dtype=dtype) for s in ((16, 24), (9, 12), (1, 2))]


@every_transform
@every_granularity
def test_zero_prompts_and_two_of_them_are_the_identity(transform, granularity):
    """sigma(0) = 1/2, twice: also on maps that are smaller than the split."""
    groups = transform.groups(granularity)
    prompt = torch.zeros(len(groups), 2, 4, dtype=torch.float64)
    for feat in feats(dtype=torch.float64):
        out, masks = masked_reconstruction(feat, prompt, transform, granularity)
        torch.testing.assert_close(out, feat)
        sizes = transform.sizes(feat.shape)
        assert [tuple(m.shape) for m in masks] == [(2, 2, *sizes[g.members[0]]) for g in groups]


@every_transform
@every_granularity
def test_masks_a_few_channels_at_a_time_are_those_of_the_bands(transform, granularity, monkeypatch):
    monkeypatch.setattr("freekd.prompts.masks._LEAST", 1)  # a channel
    gen = torch.Generator().manual_seed(1)
    prompt = torch.randn(
        len(transform.groups(granularity)), 3, 4, generator=gen, dtype=torch.float64
    )
    for feat in feats(dtype=torch.float64):
        got = masks_of(prompt, feat, transform, granularity)
        want = prompt_masks(prompt, transform.analyse(feat), transform, granularity)
        for a, b in zip(got, want):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@every_transform
def test_a_band_that_is_masked_out_stays_out(transform):
    """Orthonormal: the map of some bands alone has those bands, and no others."""
    feat = feats(dtype=torch.float64)[0]
    bands = transform.analyse(feat)
    for kept in (transform.groups()[0], transform.groups()[5]):
        flat = [b if k in kept.members else b * 0 for k, b in enumerate(bands.flat())]
        again = transform.analyse(transform.synthesise(transform.bands(flat), (16, 24)))
        for k, (band, wanted) in enumerate(zip(again.flat(), flat)):
            torch.testing.assert_close(band, wanted, msg=transform.names[k])


@every_transform
@every_granularity
def test_everything_learns(transform, granularity):
    torch.manual_seed(0)
    spec = PromptSpec.build(4, 3, transform=transform, granularity=granularity, gate="position")
    prompts = FrequencyPrompts(spec)
    outs, masks = prompts(feats())
    for out, feat in zip(outs, feats()):
        torch.testing.assert_close(out, feat, rtol=0.2, atol=0.5)
    (sum(out.square().sum() for out in outs) + prompts.dissimilarity(masks)).backward()
    grads = prompts.prompts[0].grad.abs().amax(dim=(1, 2))
    assert float(grads.min()) > 0 and len(grads) == len(transform.groups(granularity))


@every_transform
@every_granularity
@pytest.mark.parametrize("bands", ["all", "high", "low"])
def test_stage_2_written_out(transform, granularity, bands, tmp_path):
    """sum over groups of the mean over their coefficients of the mean mask times |a - b|."""
    torch.manual_seed(0)
    spec = PromptSpec.build(4, 3, transform=transform, granularity=granularity, gate=None)
    path = str(tmp_path / "prompts.pth")
    save_prompts(FrequencyPrompts(spec, init_std=0.5), path)
    prompts = load_prompts(path).prompts
    loss = FreeKDLoss(4, 4, 3, prompts=path, transform=transform, bands=bands)
    students, teachers = feats(1), feats(0)
    got = loss([s.requires_grad_() for s in students], teachers)
    want = 0
    for student, teacher, prompt in zip(students, teachers, prompts.prompts):
        a, b = (transform.analyse(x).flat() for x in (student, teacher))
        for position, group in enumerate(transform.groups(granularity)):
            if bands != "all" and group.low != (bands == "low"):
                continue
            summed = sum(b[member] for member in group.members)
            logits = torch.einsum("tc,nchw->nthw", prompt[position], summed)
            mask = torch.sigmoid(logits).mean(1, keepdim=True)
            parts = torch.stack([mask * (a[m] - b[m]).abs() for m in group.members])
            want = want + parts.mean()
    torch.testing.assert_close(got, want)
    for x, y in zip(torch.autograd.grad(got, students), torch.autograd.grad(want, students)):
        torch.testing.assert_close(x, y)


@every_transform
def test_gradcheck_of_both_stages(transform):
    gen = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 1, 2, 5, 6, generator=gen, dtype=torch.float64)
    student.requires_grad_()
    prompt = torch.randn(10, 2, 2, generator=gen, dtype=torch.float64) * 0.1
    prompt.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: freekd_loss(s, teacher, transform=transform, distance="l2"), student
    )
    assert torch.autograd.gradcheck(
        lambda p, f: masked_reconstruction(f, p, transform)[0], (prompt, student)
    )
