"""Chosen curves of several runs as tables, as CSV and as a picture."""

import csv
import difflib
import fnmatch
import io
import statistics
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from freekd.analysis.logs import Run, is_number
from freekd.config.errors import ConfigError
from freekd.fileio import atomic_path, atomic_write_text
from freekd.words import duration, number, table


def choose_keys(runs: Sequence[Run], wanted: Optional[Sequence[str]] = None) -> List[str]:
    """The keys to show: names or patterns such as ``ratio.*``, in the order given.

    Without ``wanted``: the loss, each ``ratio.*`` and the first score of each run.

    Raises:
        ConfigError: A name is in no log; the message has the nearest names.
    """
    there = list(dict.fromkeys(name for run in runs for name in run.names()))
    if not wanted:
        first = [next(iter(scores(run)), None) for run in runs]
        ratios = [name for name in there if name.startswith("ratio.")]
        return [name for name in dict.fromkeys(["loss", *ratios, *first]) if name in there]
    chosen: List[str] = []
    for name in wanted:
        found = [name] if name in there else fnmatch.filter(there, name)
        if not found:
            near = difflib.get_close_matches(name, there, n=3, cutoff=0.4)
            raise ConfigError(
                f"--keys {name}: expected a key of the logs, or a pattern such as 'ratio.*', but "
                f"no run has it; nearest: {', '.join(near) or 'none'}. They have: "
                f"{', '.join(there)}."
            )
        chosen += found
    return list(dict.fromkeys(chosen))


def scores(run: Run) -> List[str]:
    """The names of the scores, as first met."""
    known = {"step", "epoch", "iter", "lr", "mode"}
    return list(
        dict.fromkeys(
            name
            for line in run.val
            for name, value in line.items()
            if name not in known and not name.startswith("lr.") and is_number(value)
        )
    )


def best(run: Run, key: str) -> Optional[Tuple[int, float]]:
    """Step and value: of a loss the lowest, of a score the highest; None for everything else."""
    curve = run.curve(key)
    if not curve:
        return None
    if "loss" in key:
        return min(curve.items(), key=lambda item: (item[1], item[0]))
    if key in scores(run):
        return max(curve.items(), key=lambda item: (item[1], -item[0]))
    return None


def tables(runs: Sequence[Run], keys: Sequence[str]) -> List[str]:
    """Lines to print: one table for each key, then one of the time."""
    lines: List[str] = []
    for key in keys:
        rows: List[Tuple[str, ...]] = []
        for run in runs:
            curve, top = run.curve(key), best(run, key)
            if not curve:
                rows.append((run.name, "-", "-", "-", "-"))
                continue
            last = max(curve)
            at = ("-", "-") if top is None else (_exact(top[1]), str(top[0]))
            rows.append((run.name, _exact(curve[last]), str(last), *at))
        lines += [*table((key, "last", "at step", "best", "at step"), rows), ""]
    head = ("time", "steps", "s per step", "for data", "all steps")
    return [*lines, *table(head, [(run.name, *_time(run)) for run in runs])]


def _exact(value: float) -> str:
    """Scores differ in the third digit, and ``0.6825`` is what the log says."""
    return f"{value:.4f}" if abs(value) < 10 else number(value)


def _time(run: Run) -> Tuple[str, ...]:
    """Steps, median seconds of a step, the share in which it waits for data, and their product."""
    steps = max((line["step"] for line in [*run.train, *run.val]), default=0)
    each = [line["time"] for line in run.train if is_number(line.get("time"))]
    if not each:
        return (str(steps), "-", "-", "-")
    seconds = statistics.median(each)
    waits = [line["data_time"] for line in run.train if is_number(line.get("data_time"))]
    share = f"{100 * statistics.median(waits) / seconds:.0f} %" if waits and seconds else "-"
    return (str(steps), number(seconds), share, duration(seconds * steps))


# --------------------------------------------------------------------------- files
def write_csv(runs: Sequence[Run], keys: Sequence[str], path: Path) -> None:
    """``run,key,step,value``, one line for each point."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("run", "key", "step", "value"))
    for run in runs:
        for key in keys:
            writer.writerows((run.name, key, step, value) for step, value in run.curve(key).items())
    atomic_write_text(path, text.getvalue())


def check_plot(path: Path) -> str:
    """The format of a picture, by the end of its name.

    Raises:
        ConfigError: matplotlib writes no such format.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    kind = path.suffix.lstrip(".").lower()
    known = FigureCanvasAgg.get_supported_filetypes()
    if kind not in known:
        raise ConfigError(
            f"--plot {path}: expected a name that ends in .png, .svg or .pdf (all: "
            f"{', '.join(sorted(known))}), got {path.suffix or 'no ending'}. Rename it."
        )
    return kind


def plot(runs: Sequence[Run], keys: Sequence[str], path: Path) -> None:
    """One panel for each key, one line for each run; the colour of a run is the same in all.

    Raises:
        ConfigError: As :func:`check_plot`.
    """
    kind = check_plot(path)
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 1 if len(keys) == 1 else 2
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(5.5 * columns, 3.2 * rows + 0.25 * len(runs)), layout="constrained")
    FigureCanvasAgg(figure)
    palette = colormaps["tab10" if len(runs) <= 10 else "tab20"]
    handles: Dict[str, Any] = {}
    for place, key in enumerate(keys, 1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set(title=key, xlabel="step")
        axes.grid(alpha=0.3)
        for count, run in enumerate(runs):
            curve = run.curve(key)
            (line,) = axes.plot(
                list(curve), list(curve.values()), label=run.name, linewidth=1.3,
                color=palette(count % palette.N),
                linestyle=("-", "--", ":", "-.")[count // palette.N % 4],
                marker="o" if len(curve) < 12 else None, markersize=4,
            )  # fmt: skip
            handles.setdefault(run.name, line)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)
    with atomic_path(path) as temp:
        figure.savefig(temp, format=kind, dpi=120)
