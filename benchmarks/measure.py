"""Timing and memory for the benchmarks: variants in turn, medians, torch's own count of bytes."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import torch
from torch import Tensor

Step = Callable[[], Any]
COCO = ((100, 168), (50, 84), (25, 42), (13, 21), (7, 11))  # RetinaNet's levels of 800 x 1344


class Timing(NamedTuple):
    """Seconds of a variant's counted runs."""

    median: float
    least: float
    most: float


def time_in_turn(
    steps: Dict[str, Step],
    rounds: int,
    device: str,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> Dict[str, Timing]:
    """Each step once per round, A B C A B C, so that a machine's drift hits all alike.

    ``clock=time.process_time`` counts a CPU's work alone, on a machine that others use as well.
    """
    seconds: Dict[str, List[float]] = {name: [] for name in steps}
    for done in range(-warmup, rounds):
        for name, step in steps.items():
            taken = time_once(step, device, clock)
            if done >= 0:
                seconds[name].append(taken)
    return {
        name: Timing(statistics.median(found), min(found), max(found))
        for name, found in seconds.items()
    }


def time_once(step: Step, device: str, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one call; on a GPU between two events, after what was queued before."""
    if device != "cuda":
        started = clock()
        step()
        return clock() - started
    torch.cuda.synchronize()
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    step()
    last.record()
    torch.cuda.synchronize()
    return float(first.elapsed_time(last)) / 1000


def peak_bytes(step: Step, device: str, clear: Step = lambda: None) -> int:
    """The most bytes that tensors made within ``step`` held at one time, the result's included.

    ``clear`` frees what an earlier call left. On a CPU from the profiler's record of torch's
    allocator, on a GPU from its statistics.
    """
    clear()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profiler:
        step()
    results: Any = profiler.profiler
    changes = [
        (event.start_ns(), event.nbytes())
        for event in results.kineto_results.events()
        if event.name() == "[memory]"
    ]
    held = most = 0
    for _, size in sorted(changes, key=lambda change: change[0]):
        held += size
        most = max(most, held)
    return most


def far_apart(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """||found - wanted|| / ||wanted|| over all tensors, Euclidean norms in float64.

    Not the largest difference: an L1 distance's gradient jumps where a coefficient is 0 to
    rounding.
    """
    apart = sum(float((a.double() - b.double()).square().sum()) for a, b in zip(found, wanted))
    return (apart / sum(float(b.double().square().sum()) for b in wanted)) ** 0.5


def copy_bandwidth(like: Sequence[Tensor], device: str, rounds: int = 9) -> float:
    """Bytes read and written per second by copying tensors of these sizes onto others."""
    pairs = [(torch.zeros_like(x), torch.ones_like(x)) for x in like]

    def copy() -> None:
        for target, source in pairs:
            target.copy_(source)

    taken = time_in_turn({"copy": copy}, rounds, device)["copy"].median
    return 2 * sum(x.numel() * x.element_size() for x in like) / taken


def machine(device: str, packages: Sequence[str] = ()) -> Dict[str, Any]:
    """What a figure needs beside it: processor, threads, versions, commit."""
    from importlib import metadata

    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    found: Dict[str, Any] = {
        "device": device,
        "processor": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),  # what torch's kernels use
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": versions,
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d"),
    }
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> Optional[str]:
    root = Path(__file__).resolve().parents[1]
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def arguments_of_maps(about: str) -> argparse.ArgumentParser:
    """The options of a benchmark on maps alone; see :func:`random_maps` and :func:`clock_of`."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sizes", nargs="+", help="of the levels' maps, as 100x168; default: COCO")
    parser.add_argument(
        "--cpu-seconds", action="store_true", help="the process's own CPU time, not the clock's"
    )
    parser.add_argument("--json", help="write the numbers there, too")
    return parser


def random_maps(args: argparse.Namespace, generator: torch.Generator) -> List[Tensor]:
    """(N, C, H, W) of each level, on the device."""
    sizes = [tuple(map(int, size.split("x"))) for size in args.sizes or ()] or COCO
    return [
        torch.randn(args.batch, args.channels, *size, generator=generator).to(args.device)
        for size in sizes
    ]


def clock_of(args: argparse.Namespace) -> Callable[[], float]:
    """What seconds are counted by."""
    return time.process_time if args.cpu_seconds else time.perf_counter


def describe(found: Dict[str, Any]) -> str:
    """:func:`machine` in two lines."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    where = found.get("gpu") or f"{found['processor']} ({found['cpu_capability']})"
    return (
        f"{found['device']}: {where}, {found['cores']} cores, {found['threads']} threads, "
        f"{found['date']}, commit {found['commit']}\n{versions}"
    )


def table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> str:
    """Rows as a Markdown table, columns aligned."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def write_json(path: str, content: Any) -> None:
    """Written beside its place first, then moved there."""
    target = Path(path)
    part = target.with_name(target.name + ".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(part, target)
