"""The weights that prompts put on a teacher's bands: the plain way against ours, for each form.

    python benchmarks/masks.py                    # CPU, half a minute
    python benchmarks/masks.py --device cuda
    OMP_NUM_THREADS=1 python benchmarks/masks.py --cpu-seconds    # where others work, too

*plain* makes every band of every channel, then the logits; *ours* is ``FrequencyPrompts.weights``,
as stage 2 calls it. Both on the same maps and in turn. How to read it: docs/performance.md.
"""

import os
import sys
from typing import Any, Dict, List, Optional

os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # the profiler's complaints about a missing GPU

import torch
from measure import (
    arguments_of_maps,
    clock_of,
    describe,
    far_apart,
    machine,
    peak_bytes,
    random_maps,
    table,
    time_in_turn,
    write_json,
)
from torch import Tensor

from freekd.prompts.forms import FORMS
from freekd.prompts.masks import mask_weight, prompt_masks
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec


@torch.no_grad()
def plain_weights(prompts: FrequencyPrompts, feats: List[Tensor]) -> List[List[Tensor]]:
    """The masks of whole bands, averaged over T."""
    transform, granularity = prompts.spec.transform, prompts.spec.granularity
    found = []
    for level, feat in enumerate(feats):
        bands = transform.analyse(feat)
        form = prompts.form(level)
        masks = prompt_masks(prompts.prompts[level], bands, transform, granularity, form)
        found.append([mask_weight(mask) for mask in masks])
    return found


def steps_of(form: str, granularity: str, feats: List[Tensor], device: str) -> Dict[str, Any]:
    """Both ways, with T = 2."""
    spec = PromptSpec.build(
        feats[0].shape[1], len(feats), granularity=granularity, gate=None, form=form
    )
    torch.manual_seed(0)
    prompts = FrequencyPrompts(spec, init_std=0.05).to(device)
    prompts([feat[:1] for feat in feats])  # has seen a batch
    prompts.requires_grad_(False).eval()
    return {
        "plain": lambda: plain_weights(prompts, feats),
        "ours": lambda: prompts.weights(feats),
    }


def measured(feats: List[Tensor], args: Any) -> List[Dict[str, Any]]:
    """Seconds, bytes and difference of both ways for each form and granularity."""
    cases = [(form, granularity) for form in FORMS for granularity in ("band", "level")]
    rows, steps = [], [steps_of(*case, feats, args.device) for case in cases]
    for case, both in zip(cases, steps):
        taken = time_in_turn(both, args.rounds, args.device, clock=clock_of(args))
        flat = [[x for level in step() for x in level] for step in both.values()]
        rows.append(
            dict(
                form=case[0],
                granularity=case[1],
                seconds={name: timing.median for name, timing in taken.items()},
                apart=far_apart(flat[1], flat[0]),
            )
        )
    for each, both in zip(rows, steps):  # last: what the profiler counts it also slows, ever after
        each["extra_bytes"] = {name: peak_bytes(step, args.device) for name, step in both.items()}
    return rows


def main(argv: Optional[List[str]] = None) -> int:
    args = arguments_of_maps((__doc__ or "").splitlines()[0]).parse_args(argv)
    feats = random_maps(args, torch.Generator().manual_seed(0))
    found = machine(args.device, ("triton",))
    print(describe(found))
    rows = measured(feats, args)
    print(table([_cells(each) for each in rows], HEADER))
    if args.json:
        write_json(args.json, dict(machine=found, rows=rows))
    return 0


HEADER = (
    "form", "granularity", "plain ms", "ours ms", "ratio", "plain MB", "ours MB", "ratio", "apart",
)  # fmt: skip


def _cells(each: Dict[str, Any]) -> List[str]:
    seconds, size = each["seconds"], each["extra_bytes"]
    return [
        each["form"],
        each["granularity"],
        *(f"{1000 * seconds[name]:.1f}" for name in ("plain", "ours")),
        f"{seconds['plain'] / seconds['ours']:.1f}",
        *(f"{size[name] / 2**20:.1f}" for name in ("plain", "ours")),
        f"{size['plain'] / size['ours']:.1f}",
        f"{each['apart']:.0e}",
    ]


if __name__ == "__main__":
    sys.exit(main())
