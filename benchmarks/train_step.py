"""What each part of a training step of stage 2 costs, in one process and run.

    python benchmarks/train_step.py configs/freekd/retinanet_r101_r50_coco.py
    python benchmarks/train_step.py CONFIG --teacher       # the teacher's forward, part by part
    python benchmarks/train_step.py CONFIG --size 320x544 --batch 2 --steps 10 --json step.json

A step is forward, backward, gradient clipping (where the config has it) and the optimizer's step.
Random weights, synthetic images and boxes: no dataset, no downloads. Variants take turns (A B C A
B C), so that drift hits all alike. In every variant but the first the teacher runs as far as all
of the config's taps need, so that what a row adds is its term alone.
"""

import argparse
import logging
import os
import statistics
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # the profiler's complaints about a missing GPU
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch
from measure import describe, machine, peak_bytes, table, time_once, write_json
from steps import Steps

PACKAGES = ("mmcv-full", "mmdet", "mmsegmentation", "mmrazor", "triton")
STUDENT, BASE, ALL = "student", "student + teacher", "all terms of the config"


def variants(steps: Steps, own: List[str], extra: List[str]) -> Dict[str, Callable[[], None]]:
    """The rows of the table, in their order."""
    rows: Dict[str, Callable[[], None]] = {
        STUDENT: lambda: steps.run(None),
        BASE: lambda: steps.run(()),
    }
    for name in [*own, *extra]:
        rows[f"+ {name}"] = lambda name=name: steps.run((name,))
    if len(own) > 1:
        rows[ALL] = lambda: steps.run(own)
    return rows


def measure(steps: Steps, own: List[str], extra: List[str], args: Any) -> List[Dict[str, Any]]:
    """Times in turn, then memory in a pass of its own."""
    rows = variants(steps, own, extra)
    maps = steps.record()
    alone = {f"+ {name}": (lambda name=name: steps.alone(maps, name)) for name in [*own, *extra]}
    seconds: Dict[str, List[float]] = {name: [] for name in rows}
    by_itself: Dict[str, List[float]] = {name: [] for name in alone}
    for done in range(-args.warmup, args.steps):
        for group, found in ((rows, seconds), (alone, by_itself)):
            for name, step in group.items():
                taken = time_once(step, args.device)
                if done >= 0:
                    found[name].append(taken * 1e3)
    both = {**rows, **{f"alone {name}": step for name, step in alone.items()}}
    memory = {name: peak_bytes(step, args.device, steps.forget) for name, step in both.items()}
    base = seconds[BASE]
    result = []
    for name, found in seconds.items():
        middle = statistics.median(found)
        # within a round, so that what drifts from round to round cancels
        added = statistics.median(a - b for a, b in zip(found, base))
        result.append(
            dict(
                variant=name,
                median_ms=middle,
                min_ms=min(found),
                max_ms=max(found),
                added_ms=added,
                added_percent=100 * added / statistics.median(base),
                share_percent=100 * added / middle,
                alone_ms=statistics.median(by_itself[name]) if name in by_itself else None,
                peak_bytes=memory[name],
                extra_bytes=memory[name] - memory[BASE],
                alone_bytes=memory.get(f"alone {name}"),
            )
        )
    return result


HEADER = (
    "step", "median ms", "min-max", "added ms", "added %", "share %", "alone ms", "peak MB",
    "extra MB", "alone MB",
)  # fmt: skip


def shown(row: Dict[str, Any]) -> List[str]:
    """A row of HEADER."""
    plain = row["variant"] in (STUDENT, BASE)
    return [
        row["variant"],
        f"{row['median_ms']:.1f}",
        f"{row['min_ms']:.1f}-{row['max_ms']:.1f}",
        "" if plain else f"{row['added_ms']:.2f}",
        "" if plain else f"{row['added_percent']:.1f}",
        "" if plain else f"{row['share_percent']:.1f}",
        "" if row["alone_ms"] is None else f"{row['alone_ms']:.2f}",
        f"{row['peak_bytes'] / 1e6:.0f}",
        "" if plain else f"{row['extra_bytes'] / 1e6:.1f}",
        "" if row["alone_bytes"] is None else f"{row['alone_bytes'] / 1e6:.1f}",
    ]


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    from mmcv import DictAction

    parser = argparse.ArgumentParser(description="The parts of a training step of stage 2.")
    parser.add_argument("config", nargs="?", default="configs/freekd/retinanet_r101_r50_coco.py")
    parser.add_argument("--size", help="HxW; default: the config's, in multiples of 32")
    parser.add_argument("--batch", type=int, help="images; default: the config's")
    parser.add_argument("--steps", type=int, default=10, help="counted rounds")
    parser.add_argument("--warmup", type=int, default=2, help="rounds before them")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda if there is one")
    parser.add_argument("--amp", choices=("bfloat16", "float16"), help="default: float32")
    parser.add_argument("--no-direct", action="store_true", help="without the direct formulation")
    parser.add_argument("--teacher", action="store_true", help="the teacher's forward alone")
    parser.add_argument("--teacher-checkpoint", help="trained weights, for --teacher's accuracy")
    parser.add_argument("--real-data", action="store_true", help="the config's training images")
    parser.add_argument("--prompts", help="prompt file; default: random ones")
    parser.add_argument("--json", help="write the figures there")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="key=value")
    return parser.parse_args(argv)


def main(argv: Optional[List[str]] = None) -> int:
    """Entry; returns the exit code."""
    from freekd import compat

    compat.apply()
    args = parse_args(argv)
    logging.disable(logging.WARNING)  # of models without trained weights
    warnings.filterwarnings("ignore", message=".*Profiler clears events")
    import pair
    from teacher import teacher_rows

    from freekd.config import checks, load

    args.device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    cfg = load.load_config(args.config, args.cfg_options)
    task = checks.decide_task(cfg)
    size = pair.image_size(cfg, args.size)
    batch = args.batch or cfg.data.samples_per_gpu
    with tempfile.TemporaryDirectory() as folder:
        pair.prepared(cfg, folder, args.teacher_checkpoint, args.prompts)
        model = pair.build(cfg, task, args.device, args.amp)
    if args.real_data:
        data = pair.real(cfg, task, batch, args.device)
        size = tuple(data["img"].shape[-2:])
    else:
        data = pair.synthetic(model, task, size, batch, args.device)
    found = machine(args.device, PACKAGES)
    content = dict(
        machine=found, config=args.config, size=size, batch=batch, amp=args.amp, steps=args.steps
    )
    print(describe(found))
    print(
        f"{args.config}: {batch} images of {size[0]}x{size[1]}, {args.amp or 'float32'}, "
        f"{args.steps} rounds after {args.warmup}\n"
    )
    if args.teacher:
        content.update(teacher_rows(model, data, args))
    else:
        own = [loss.name for c in model.distiller.components for loss in c.losses]
        extra = [name for name in own if name == pair.CWD]
        own = [name for name in own if name != pair.CWD]
        if not args.no_direct and pair.add_direct(model.distiller, args.device):
            extra.append(pair.DIRECT)
        steps = Steps(model, data, cfg, args.device, args.amp)
        content["rows"] = rows = measure(steps, own, extra, args)
        print(table([shown(row) for row in rows], HEADER))
        print(notes(rows, args.device))
    if args.json:
        write_json(args.json, content)
    return 0


def notes(rows: List[Dict[str, Any]], device: str) -> str:
    """What the columns mean, and what the rows come to."""
    by_name = {row["variant"]: row for row in rows}
    ours = by_name.get("+ loss_freekd")
    whole = by_name.get(ALL, ours)
    teacher = by_name[BASE]["median_ms"] - by_name[STUDENT]["median_ms"]
    kind = "torch.cuda.max_memory_allocated" if device == "cuda" else "torch's allocator, profiled"
    lines = [
        "",
        f"added: median over rounds of the row less '{BASE}' in the same round; %: of '{BASE}'; "
        "share: of the row;",
        "alone: the term's forward and backward on recorded maps, nothing else running; "
        f"memory: {kind}, above what is held between steps.",
        f"The teacher's forward: {teacher:.1f} ms.",
    ]
    if ours and whole:
        shares = [100 * ours[key] / whole["median_ms"] for key in ("added_ms", "alone_ms")]
        lines.append(
            f"FreeKD's share of the whole step: {shares[0]:.1f} % by difference, {shares[1]:.1f} % "
            "by itself."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
