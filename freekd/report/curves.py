"""Learning curves: which keys of the logs belong into one chart, and the mean over seeds."""

import statistics
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

from freekd.report.material import Item, Material
from freekd.report.results import is_reference, main_metric, number

MOST_POINTS = 100
_LEFT_OUT = ("time", "data_time", "memory", "epoch", "iter", "step")


@dataclass
class Line:
    """One row in one chart.

    Attributes:
        row, label: of the items.
        seeds: how many runs the mean is over.
        points: step -> (mean, smallest, largest) over the seeds.
    """

    row: str
    label: str
    seeds: int
    points: Dict[int, Tuple[float, float, float]]


@dataclass
class Chart:
    """One key of the logs over the iterations of training."""

    key: str
    group: str
    lines: List[Line]
    note: str = ""

    @property
    def steps(self) -> List[int]:
        return sorted({step for line in self.lines for step in line.points})

    @property
    def is_curve(self) -> bool:
        """Whether any line has more than one point."""
        return any(len(line.points) > 1 for line in self.lines)


GROUPS = ("scores", "losses", "ratios", "other", "reference")


def charts(material: Material) -> List[Chart]:
    """All charts: scores, each loss, each ``ratio.*``, then learning rate and norms.

    A teacher and its prompts, trained on their own, have charts of their own beside students.
    """
    metric = main_metric([item.run for item in material.items])
    students = [item for item in material.items if not is_reference(item.row)]
    if not students:
        return _charts(material.items, metric)
    references = [item for item in material.items if is_reference(item.row)]
    apart = _charts(references, metric)
    for chart in apart:
        chart.group = "reference"
    return _charts(students, metric) + apart


def _charts(items: Sequence[Item], metric: str) -> List[Chart]:
    named: Dict[str, List[str]] = {group: [] for group in GROUPS}
    for item in items:
        for key in item.run.names():
            group = _group(key, item, metric)
            if group and _shown(key) not in named[group]:
                named[group].append(_shown(key))
    found = [_chart(key, group, items) for group in GROUPS for key in named[group]]
    return [chart for chart in found if chart.lines]


def _group(key: str, item: Item, metric: str) -> Optional[str]:
    if not any(key in line for line in item.run.train):
        return "scores" if key == metric else None
    if key in _LEFT_OUT or key.startswith("eta"):
        return None
    if key.startswith("ratio."):
        return "ratios"
    return "losses" if "loss" in key else "other"


def _shown(key: str) -> str:
    """A student's own loss has one name, distilled or alone."""
    return key[len("student.") :] if key.startswith("student.") else key


def _chart(shown: str, group: str, items: Sequence[Item]) -> Chart:
    rows: Dict[str, List[Dict[int, float]]] = {}
    labels, bad, thinned = {}, 0, 1
    for item in items:
        curve = item.run.curve(shown) or item.run.curve(f"student.{shown}")
        finite = {step: value for step, value in curve.items() if number(value) is not None}
        bad += len(curve) - len(finite)
        if finite:
            rows.setdefault(item.row, []).append(finite)
            labels[item.row] = item.label
    lines = []
    for row, curves in rows.items():
        shared = set.intersection(*(set(curve) for curve in curves))
        steps = sorted(shared or set().union(*curves))
        every = -(-len(steps) // MOST_POINTS)
        thinned = max(thinned, every)
        kept = [step for i, step in enumerate(reversed(steps)) if i % every == 0][::-1]
        lines.append(Line(row, labels[row], len(curves), {s: _spread(curves, s) for s in kept}))
    notes = []
    if thinned > 1:
        notes.append(f"Of long runs up to {MOST_POINTS} logged steps are shown, evenly chosen.")
    if bad:
        notes.append(f"{bad} logged values are not finite and are left out.")
    return Chart(shown, group, lines, " ".join(notes))


def _spread(curves: Sequence[Dict[int, float]], step: int) -> Tuple[float, float, float]:
    values = [curve[step] for curve in curves if step in curve]
    return statistics.fmean(values), min(values), max(values)
