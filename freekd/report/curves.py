"""Learning curves: which keys of the logs belong into one chart, and the mean over seeds."""

import math
import statistics
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

from freekd.report.material import Item, Material
from freekd.report.results import main_metric

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


GROUPS = ("scores", "losses", "ratios", "other")


def charts(material: Material) -> List[Chart]:
    """All charts: scores, each loss, each ``ratio.*``, then learning rate and norms."""
    named: Dict[str, Dict[str, str]] = {group: {} for group in GROUPS}
    metric = main_metric([item.run for item in material.items])
    for item in material.items:
        for key in item.run.keys():
            group = _group(key, item, metric)
            if group:
                named[group].setdefault(_shown(key), key)
    found = []
    for group in GROUPS:
        order = list(named[group])
        if metric in order:
            order.insert(0, order.pop(order.index(metric)))
        found += [_chart(key, group, material.items) for key in order]
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
        finite = {step: value for step, value in curve.items() if math.isfinite(value)}
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
