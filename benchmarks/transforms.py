"""What the distance of two maps costs in the bands of each transform, in one run.

    python benchmarks/transforms.py                    # CPU, half a minute
    python benchmarks/transforms.py --device cuda
    OMP_NUM_THREADS=1 python benchmarks/transforms.py --cpu-seconds    # where others work, too

Forward and backward, standardised channels, the squared difference, no prompts; the transforms in
turn. *moved*: by a random offset at each step. How to read it: docs/performance.md.
"""

import argparse
import sys
import time
from functools import partial
from typing import Any, Dict, List, NamedTuple, Optional

import torch
from masks import COCO
from measure import describe, machine, table, time_in_turn, write_json
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sizes", nargs="+", help="of the levels' maps, as 100x168; default: COCO")
    parser.add_argument(
        "--cpu-seconds", action="store_true", help="the process's own CPU time, not the clock's"
    )
    parser.add_argument("--json", help="write the numbers there, too")
    args = parser.parse_args(argv)
    sizes = [tuple(map(int, size.split("x"))) for size in args.sizes or ()] or COCO
    shapes = [(args.batch, args.channels, *size) for size in sizes]
    gen = torch.Generator().manual_seed(0)
    students, teachers = (
        [torch.randn(shape, generator=gen).to(args.device) for shape in shapes] for _ in range(2)
    )
    for student in students:
        student.requires_grad_()
    found = machine(args.device, ("triton",))
    print(describe(found))
    clock = time.process_time if args.cpu_seconds else time.perf_counter
    steps = {row.label: partial(step, row, students, teachers) for row in ROWS}
    taken = time_in_turn(steps, args.rounds, args.device, clock=clock)
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
