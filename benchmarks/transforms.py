"""What the distance of two maps costs in the bands of each transform, in one run.

    python benchmarks/transforms.py                    # CPU, half a minute
    python benchmarks/transforms.py --device cuda
    OMP_NUM_THREADS=1 python benchmarks/transforms.py --cpu-seconds    # where others work, too

Forward and backward, standardised channels, the squared difference, no prompts; the transforms in
turn. *moved*: by a random offset at each step. How to read it: docs/performance.md.
"""

import sys
from functools import partial
from typing import Any, Dict, List, NamedTuple, Optional

import torch
from measure import (
    arguments_of_maps,
    clock_of,
    describe,
    machine,
    random_maps,
    table,
    time_in_turn,
    write_json,
)
from torch import Tensor

from freekd.frequency import build_transform
from freekd.frequency.shift import random_offset
from freekd.losses.band_distance import weighted_distance


class Row(NamedTuple):
    """One way of cutting bands."""

    label: str
    transform: Any
    moved: bool = False


BLOCKS = dict(type="dct", block=8)
ROWS = (
    Row("Haar", "haar"),
    Row("Haar, moved", "haar", True),
    Row("DCT of 8 x 8 blocks", BLOCKS),
    Row("DCT of 8 x 8 blocks, moved", BLOCKS, True),
    Row("DCT", "dct"),
    Row("DFT", "dft"),
    Row("db4", dict(type="db4", mode="periodization")),
)


def step(row: Row, students: List[Tensor], teachers: List[Tensor]) -> None:
    """Value and gradient over all levels."""
    transform = build_transform(row.transform)
    for student, teacher in zip(students, teachers):
        student.grad = None
        weighted_distance(
            student, teacher, transform=transform, normalize="channel", distance="l2",
            offset=random_offset(transform) if row.moved else None,
        ).backward()  # fmt: skip


def main(argv: Optional[List[str]] = None) -> int:
    args = arguments_of_maps((__doc__ or "").splitlines()[0]).parse_args(argv)
    generator = torch.Generator().manual_seed(0)
    students, teachers = random_maps(args, generator), random_maps(args, generator)
    for student in students:
        student.requires_grad_()
    found = machine(args.device, ("triton",))
    print(describe(found))
    steps = {row.label: partial(step, row, students, teachers) for row in ROWS}
    taken = time_in_turn(steps, args.rounds, args.device, clock=clock_of(args))
    first = taken[ROWS[0].label].median
    rows: List[Dict[str, Any]] = [
        dict(label=label, seconds=timing.median, ratio=timing.median / first)
        for label, timing in taken.items()
    ]
    cells = [[r["label"], f"{1000 * r['seconds']:.1f}", f"{r['ratio']:.2f}"] for r in rows]
    print(table(cells, ("transform", "ms", "over Haar")))
    if args.json:
        write_json(args.json, dict(machine=found, rows=rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
