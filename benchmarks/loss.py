"""FreeKD's loss: direct formulation against ours, forward and backward, in one run.

    python benchmarks/loss.py                          # CPU, and the GPU where there is one
    python benchmarks/loss.py --quick                  # two minutes
    python benchmarks/loss.py --json loss.json --plot docs/images/loss_time.png
    python benchmarks/loss.py --methods                # every method's loss instead, see methods.py

Tables: (1) the five levels of a COCO pyramid, every option; (2) one map of growing size; (3) the
bare transform against pytorch_wavelets and ptwt. How to read them: docs/performance.md.
"""

import argparse
import itertools
import os
import sys
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # the profiler's complaints about a missing GPU
KEEP = {"MALLOC_MMAP_THRESHOLD_": str(2**40), "MALLOC_TRIM_THRESHOLD_": str(2**40)}
if "--keep-memory" in sys.argv and os.environ.get("MALLOC_TRIM_THRESHOLD_") is None:
    os.environ.update(KEEP)  # glibc reads them once, at start
    os.execv(sys.executable, [sys.executable, *sys.argv])

import methods
import torch
from bare import bare_rows
from direct import direct_loss, transform
from draw import draw_growth
from measure import (
    COCO,
    copy_bandwidth,
    describe,
    far_apart,
    machine,
    peak_bytes,
    table,
    time_in_turn,
    write_json,
)
from torch import Tensor

from freekd.losses.freekd import FreeKDLoss
from freekd.prompts.file import save_prompts
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec

BUNDLED = ((16, 16), (8, 8), (4, 4))  # of the bundled task, and its options
GROWTH = ((64, 64), (100, 168), (128, 224), (200, 336))
PACKAGES = ("pytorch-wavelets", "ptwt", "triton")


class Case(NamedTuple):
    """One row's options."""

    sizes: Tuple[Tuple[int, int], ...]
    num_prompts: int = 2
    granularity: str = "band"
    gate: Optional[str] = None
    autocast: Optional[str] = None  # the type of the maps; None: float32
    normalize: Optional[str] = None
    distance: str = "l1"
    batch: int = 2
    channels: int = 256


def build(case: Case, device: str) -> Tuple[Dict[str, Any], List[Tensor], Any]:
    """The steps of both formulations on the same maps, the student's maps, and what frees them."""
    torch.manual_seed(0)
    dtype = torch.float32 if case.autocast is None else getattr(torch, case.autocast)
    channels, size = case.channels, (case.batch, case.channels)
    maps = [
        [torch.randn(*size, h, w, device=device).to(dtype) for h, w in case.sizes] for _ in range(2)
    ]
    student, teacher = [x.requires_grad_() for x in maps[0]], maps[1]
    spec = PromptSpec.build(
        channels,
        len(case.sizes),
        case.num_prompts,
        granularity=case.granularity,
        gate=case.gate,
    )
    prompts = FrequencyPrompts(spec, init_std=0.05)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "prompts.pth")
        save_prompts(prompts, path)
        ours = FreeKDLoss(
            channels,
            channels,
            len(case.sizes),
            prompts=path,
            normalize=case.normalize,
            distance=case.distance,
        ).to(device)
    frozen = prompts.requires_grad_(False).to(device)
    mlps = None if frozen.gate is None else frozen.gate.mlps
    xfm = transform().to(device)

    def clear() -> None:
        for x in student:
            x.grad = None

    def step(loss: Any) -> Any:
        def run() -> List[Tensor]:
            clear()
            with torch.autocast(device, dtype, enabled=case.autocast is not None):
                value = loss()
            value.backward()
            return [value.detach(), *(x.grad for x in student)]

        return run

    steps = {
        "direct": step(
            lambda: direct_loss(
                student,
                teacher,
                frozen.prompts,
                mlps,
                xfm,
                case.granularity,
                case.distance,
                normalize=case.normalize,
            )
        ),
        "ours": step(lambda: ours(student, teacher)),
    }
    return steps, student, clear


def measure(case: Case, args: argparse.Namespace, device: str) -> Dict[str, Any]:
    """One row: times, memory, floor, and how far the two results are apart."""
    steps, maps, clear = build(case, device)
    results = {name: step() for name, step in steps.items()}
    (value, *grads), (want, *want_grads) = results["ours"], results["direct"]
    apart = far_apart(grads, want_grads)
    del results, grads, want_grads
    times = time_in_turn(steps, args.rounds, device)
    memory = {name: peak_bytes(step, device, clear) for name, step in steps.items()}
    student = [x.detach() for x in maps]
    size = sum(x.numel() * x.element_size() for x in student)
    bandwidth = copy_bandwidth(student, device)
    return {
        **case._asdict(),
        "device": device,
        "seconds": {name: timing._asdict() for name, timing in times.items()},
        "ratio": times["direct"].median / times["ours"].median,
        "extra_bytes": memory,
        "memory_ratio": memory["direct"] / memory["ours"],
        "student_bytes": size,
        "copy_bytes_per_second": bandwidth,
        "floor_seconds": 3 * size / bandwidth,  # read student and teacher, write the gradient
        "value_apart": abs(float(value) - float(want)) / abs(float(want)),
        "gradient_apart": apart,
    }


HEADER = (
    "maps", "T", "granularity", "gate", "type", "direct ms", "ours ms", "ratio", "floor ms",
    "direct MB", "ours MB", "ratio", "copies", "value", "gradient",
)  # fmt: skip


def shown(row: Dict[str, Any]) -> List[str]:
    """A row of HEADER. ``copies``: ours over the size of the student's maps."""
    sizes = " ".join(f"{h}x{w}" for h, w in row["sizes"])
    sizes = {COCO: "COCO", BUNDLED: "bundled task"}.get(row["sizes"], sizes)
    seconds, memory = row["seconds"], row["extra_bytes"]
    return [
        sizes,
        str(row["num_prompts"]),
        row["granularity"],
        "on" if row["gate"] else "off",
        row["autocast"] or "float32",
        f"{seconds['direct']['median'] * 1e3:.1f}",
        f"{seconds['ours']['median'] * 1e3:.1f}",
        f"{row['ratio']:.1f}",
        f"{row['floor_seconds'] * 1e3:.2f}",
        f"{memory['direct'] / 1e6:.0f}",
        f"{memory['ours'] / 1e6:.0f}",
        f"{row['memory_ratio']:.1f}",
        f"{memory['ours'] / row['student_bytes']:.2f}",
        f"{row['value_apart']:.0e}",
        f"{row['gradient_apart']:.0e}",
    ]


def cases(args: argparse.Namespace) -> Dict[str, List[Case]]:
    """Every option at the COCO sizes, one map of growing size, and the bundled task's loss."""
    like = {"batch": args.batch, "channels": args.channels}
    growth = [Case((size,), T, **like) for T in args.prompts for size in args.sizes or GROWTH]
    if args.quick:
        return {"coco": [Case(COCO, T, **like) for T in args.prompts], "growth": growth}
    types = (None, args.autocast)
    options = itertools.product(args.prompts, ("band", "level"), (None, "position"), types)
    return {
        "coco": [Case(COCO, *chosen, **like) for chosen in options],
        "growth": growth,
        "bundled": [
            Case(
                BUNDLED,
                2,
                gate="position",
                normalize="channel",
                distance="l2",
                batch=8,
                channels=64,
            )
        ],
    }


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Measure, print, write."""
    args = parse(argv)
    content: Dict[str, Any] = {"batch": args.batch, "channels": args.channels, "devices": []}
    for device in args.device:
        about = machine(device, PACKAGES)
        print(f"{describe(about)}\nbatch {args.batch}, {args.channels} channels, ", end="")
        print(f"median of {args.rounds} rounds, variants in turn\n", flush=True)
        if args.keep_memory:
            print("malloc keeps freed memory\n")
        found: Dict[str, Any] = {"machine": about, "keep_memory": args.keep_memory}
        content["devices"].append(found)
        if args.methods:
            setting = methods.Setting(args.sizes or COCO, args.batch, args.channels, device)
            found.update(methods.measure(setting, args.rounds))
            print(methods.shown(found) + "\n", flush=True)
            continue
        for name, chosen in cases(args).items():
            found[name] = []
            for case in chosen:
                found[name].append(measure(case, args, device))
                print(" ".join(shown(found[name][-1])), file=sys.stderr, flush=True)
            print(table([shown(row) for row in found[name]], HEADER) + "\n", flush=True)
        found["bare"], text = bare_rows(COCO, args.batch, args.channels, args.rounds, device)
        print(text, flush=True)
    if args.json:
        write_json(args.json, content)
    if args.plot and not args.methods:
        draw_growth(content, args.plot)
    return 0


def parse(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    there = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    parser.add_argument("--device", nargs="+", choices=("cpu", "cuda"), default=there)
    parser.add_argument("--prompts", nargs="+", type=int, default=[1, 2, 6], help="values of T")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=_size,
        help="HxW of the growing map; with --methods of the levels, finest first",
    )
    parser.add_argument("--methods", action="store_true", help="every method's loss instead")
    parser.add_argument("--autocast", default="bfloat16", choices=("bfloat16", "float16"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="float32, band, no gate only")
    parser.add_argument(
        "--keep-memory",
        action="store_true",
        help="on a CPU: let malloc keep freed memory, so that no time goes into fresh pages",
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures")
    parser.add_argument("--plot", metavar="FILE", help="draw time against size")
    return parser.parse_args(argv)


def _size(text: str) -> Tuple[int, int]:
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected HxW such as 100x168, got {text!r}") from None
    return height, width


if __name__ == "__main__":
    sys.exit(main())
