"""What stands for a masked coefficient, by hand; means of several batches and processes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from freekd.frequency import HAAR, WaveletTransform
from freekd.prompts.fill import NoiseFill, build_fill
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.running import RunningMeans
from freekd.prompts.spec import PromptSpec

ROOT = Path(__file__).resolve().parents[2]
DOUBLE = torch.float64


class Drawn(NoiseFill):
    """Noise that is known: 2 everywhere."""

    def draw(self, coefficients):
        return torch.full_like(coefficients, 2.0)


@pytest.mark.parametrize(
    ("kind", "filled"),
    # HL is 2 and -4: mean -1, deviation 3; masks of 1/2: half of R and half of -1, or -1 + 2 * 3
    [(None, [1.0, -2.0]), ("mean", [0.5, -2.5]), ("noise", [3.5, 0.5])],
)
def test_by_hand(kind, filled):
    transform = WaveletTransform(levels=1)
    spec = PromptSpec.build(1, 1, 1, transform, gate=None)
    prompts = FrequencyPrompts(spec, init_std=0).to(DOUBLE)  # T = 1: half passes
    feat = torch.tensor([[3.0, 1.0, 0.0, 4.0], [3.0, 1.0, 0.0, 4.0]], dtype=DOUBLE).view(1, 1, 2, 4)
    fill = Drawn(spec) if kind == "noise" else build_fill(kind or "zero", spec)
    assert (fill is None) == (kind is None)
    outs, masks = prompts([feat], fill)
    assert all(bool((mask == 0.5).all()) for mask in masks[0])
    low, _, vertical, _ = transform.analyse(outs[0]).flat()
    assert vertical.flatten().tolist() == pytest.approx(filled)
    # LL is 4 and 4, deviation 0: filled by its mean it stays; by 0 it halves
    assert low.flatten().tolist() == pytest.approx([2.0, 2.0] if kind is None else [4.0, 4.0])
    if kind == "noise":
        fill.eval()
        vertical = transform.analyse(prompts([feat], fill)[0][0]).flat()[2]
        assert vertical.flatten().tolist() == pytest.approx([0.5, -2.5])  # evaluation: the mean


@pytest.mark.parametrize("kind", ["mean", "noise"])
def test_nothing_is_filled_where_all_passes(kind):
    """T = 2 and P = 0: the masks add up to 1. T = 6: to 3, and 1 - 3 is no share of anything."""
    for count, factor in ((2, 1), (6, 3)):
        spec = PromptSpec.build(3, 2, count, gate=None)
        prompts = FrequencyPrompts(spec, init_std=0).to(DOUBLE)
        maps = [torch.randn(2, 3, *size, dtype=DOUBLE) for size in ((8, 9), (5, 3))]
        outs, _ = prompts(maps, build_fill(kind, spec))
        for out, feat in zip(outs, maps):
            torch.testing.assert_close(out, factor * feat)


def test_the_moments_are_those_of_all_that_was_seen():
    spec = PromptSpec.build(3, 2, gate=None)
    prompts, fill = FrequencyPrompts(spec), NoiseFill(spec)
    batches = [[torch.randn(n, 3, 8, 8) + 5 for _ in range(2)] for n in (1, 4)]
    for batch in batches:
        prompts(batch, fill)
    seen = torch.cat([batch[1] for batch in batches])
    for band, coefficients in enumerate(HAAR.analyse(seen.to(DOUBLE)).flat()):
        fill.eval()
        mean = fill(1, band, coefficients).expand(1, -1, 1, 1)
        expected = coefficients.mean((0, 2, 3), keepdim=True)
        torch.testing.assert_close(mean, expected, rtol=1e-5, atol=1e-5)  # seen in float32
        fill.train()
        torch.manual_seed(0)
        noise = fill(1, band, coefficients) - mean
        torch.manual_seed(0)
        drawn = torch.randn_like(coefficients)
        deviation = coefficients.std((0, 2, 3), unbiased=False, keepdim=True)
        torch.testing.assert_close(noise, deviation * drawn, rtol=1e-4, atol=1e-5)
    kept = fill.moments.mean(0).clone()
    prompts.requires_grad_(False)(batches[0], fill)  # frozen prompts: nothing is learned
    assert torch.equal(fill.moments.mean(0), kept)


@pytest.mark.parametrize("kind", ["mean", "noise"])
def test_before_the_first_batch_nothing_stands_for_it(kind):
    spec = PromptSpec.build(3, 1, 1, gate=None)
    prompts, fill = FrequencyPrompts(spec).eval(), build_fill(kind, spec).eval()
    maps = [torch.randn(1, 3, 8, 8)]
    assert torch.equal(prompts(maps, fill)[0][0], prompts(maps)[0][0])


def test_an_unknown_one_is_refused():
    with pytest.raises(ValueError, match="prompt.fill='blur' is not known; expected one of 'zero'"):
        build_fill("blur", PromptSpec.build(3, 1), "prompt.fill")


# --------------------------------------------------------------------------- means
def test_means_weigh_each_batch_by_its_positions():
    """(2 * 1 + 6 * 5) / 8 = 4; and what is not finite counts for nothing."""
    means = RunningMeans([(1, 1), (2,)])
    assert float(means.mean(0)) == 0
    means.update([torch.tensor([[1.0]]), torch.tensor([1.0, 2.0])], [2, 3])
    assert float(means.mean(0)) == 1 and means.mean(1).tolist() == [1, 2]
    means.update([torch.tensor([[5.0]]), torch.tensor([float("inf"), 9.0])], [6, 3])
    assert float(means.mean(0)) == 4 and means.mean(1).tolist() == [1, 2]
    assert [int(means.get_buffer(f"seen_{i}")) for i in (0, 1)] == [8, 3]


PROCESS = """
import sys, torch
from freekd.prompts.fill import NoiseFill
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec
rank, here = int(sys.argv[1]), sys.argv[2]
torch.manual_seed(0)
spec = PromptSpec.build(4, 2, form="energy", gate=None)
prompts, fill = FrequencyPrompts(spec), NoiseFill(spec)
steps = [[torch.randn(4, 4, *size) for size in ((8, 12), (5, 7))] for _ in range(3)]
if rank < 2:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{here}/store", rank=rank, world_size=2)
    share = slice(0, 1) if rank == 0 else slice(1, 4)  # one image here, three there
else:
    share = slice(0, 4)
for maps in steps:
    prompts([feat[share] for feat in maps], fill)
state = {**prompts.means.state_dict(), **fill.moments.state_dict(prefix="fill.")}
torch.save(state, f"{here}/{rank}.pth")
if rank < 2:
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
"""


def test_two_processes_see_what_one_does(tmp_path):
    """Whatever share of a batch each has: the sums are added over the process group."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(rank), str(tmp_path)], cwd=ROOT,
            stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1, 2)
    ]  # fmt: skip
    for run in runs:
        _, err = run.communicate(timeout=100)
        assert run.returncode == 0, err
    first, second, alone = (
        torch.load(str(tmp_path / f"{rank}.pth"), weights_only=True) for rank in (0, 1, 2)
    )
    assert set(alone) == {
        f"{prefix}{name}_{i}" for prefix in ("", "fill.") for name in ("mean", "seen")
        for i in (0, 1)
    }  # fmt: skip
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, msg=name)
