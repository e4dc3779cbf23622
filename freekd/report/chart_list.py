"""What the page shows of the curves: groups of charts, the legend, numbers for the script."""

from typing import Any, Dict, List, Sequence, Tuple

from freekd.report.chart import draw, scales, style_of
from freekd.report.curves import Chart
from freekd.report.images import Shown
from freekd.report.results import Results
from freekd.report.text import exact
from freekd.words import number

FIRST_SHOWN = 5
GROUP_TITLES = {
    "scores": "Scores",
    "losses": "Losses",
    "ratios": "Ratios: a distillation term over the task loss",
    "other": "Learning rate, gradients and others",
    "reference": "The teacher and its prompts",
}


def groups(found: Sequence[Chart], order: Sequence[str]) -> List[Dict[str, Any]]:
    groups = []
    for key, name in GROUP_TITLES.items():
        own = [(i, chart) for i, chart in enumerate(found) if chart.group == key]
        drawn = [
            {
                "id": f"chart{i}",
                "key": chart.key,
                "svg": draw(chart, order, f"chart{i}"),
                "log": scales(chart)[1].log,
                "note": chart.note,
                "lines": [
                    {
                        "index": order.index(line.row),
                        "style": style_of(order.index(line.row)),
                        "label": line.label,
                        "seeds": line.seeds,
                        "last": number(list(line.points.values())[-1][0]),
                    }
                    for line in chart.lines
                ],
                "rows": [
                    [
                        str(step),
                        *(exact(line.points.get(step, (None,))[0]) for line in chart.lines),
                    ]
                    for step in chart.steps
                ],
            }
            for i, chart in own
            if chart.is_curve
        ]
        points = [chart.key for _, chart in own if not chart.is_curve]
        if drawn or points:
            groups.append({"key": key, "title": name, "charts": drawn, "points": points})
    return groups


def first_shown(
    rows: Sequence[str], table: Results, found: Sequence[Chart]
) -> Tuple[List[str], List[str]]:
    """Which lines are there at first: all that are few, else the baseline and the best students.

    Returns:
        Those rows, and all rows that can be hidden. What is apart (a teacher) always stays.
    """
    apart = {line.row for chart in found if chart.group == "reference" for line in chart.lines}
    free = [row for row in rows if row not in apart]
    means = {row.row: row.mean or 0.0 for row in table.rows}
    ranked = sorted(free, key=lambda row: (row != table.baseline, -means.get(row, 0.0)))
    return (free if len(free) <= FIRST_SHOWN else ranked[:FIRST_SHOWN]), free


def legend(
    free: Sequence[str], shown: Sequence[str], order: Sequence[str], labels: Dict[str, str]
) -> List[Dict[str, Any]]:
    return [
        {
            "index": order.index(row),
            "style": style_of(order.index(row)),
            "label": labels[row],
            "shown": row in shown,
        }
        for row in free
    ]


def data(found: Sequence[Chart], order: Sequence[str], pictures: Sequence[Shown]) -> Dict[str, Any]:
    """What the page's script reads."""
    drawn = {}
    for i, chart in enumerate(found):
        if not chart.is_curve:
            continue
        across, _ = scales(chart)
        drawn[f"chart{i}"] = {
            "steps": chart.steps,
            "x": [across(step) for step in chart.steps],
            "values": {
                str(order.index(line.row)): [
                    number(line.points[step][0]) if step in line.points else ""
                    for step in chart.steps
                ]
                for line in chart.lines
            },
        }
    return {"charts": drawn, "pictures": [shown.images for shown in pictures]}
