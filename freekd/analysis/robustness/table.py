"""From single scores to mPC and rPC, a table and a picture.

With P(c, s) the score under corruption c of severity s (mAP, mIoU), and N_c corruptions of N_s
severities (Michaelis et al., arXiv:1907.07484, Eq. 1 and 2)::

    mPC = 1/N_c sum_c 1/N_s sum_s P(c, s)        rPC = mPC / P(clean)
"""

import statistics
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from freekd.fileio import atomic_path
from freekd.words import table

Scores = Mapping[str, Mapping[str, float]]  # corruption -> severity -> score
_MARKS = "osD^vP*X<>"


def summary(clean: float, scores: Scores) -> Dict[str, Optional[float]]:
    """mPC and rPC of one model; rPC is None where the clean score is 0.

    >>> summary(0.8, {"fog": {"1": 0.6, "2": 0.2}, "snow": {"1": 0.4, "2": 0.0}})
    {'mPC': 0.3, 'rPC': 0.375}
    """
    mean = statistics.fmean(statistics.fmean(row.values()) for row in scores.values())
    return {"mPC": round(mean, 12), "rPC": round(mean / clean, 12) if clean else None}


def text(result: Mapping[str, Any]) -> List[str]:
    """Both tables, as a person reads them: all models; then each corruption's mean."""
    models = result["models"]
    rows = [(m["name"], _score(m["clean"]), _score(m["mPC"]), _percent(m["rPC"])) for m in models]
    lines = table((f"model ({result['metric']})", "clean", "mPC", "rPC"), rows)
    by_corruption = [
        (name, *(_score(_mean(model["scores"][name])) for model in models))
        for name in result["corruptions"]
    ]
    head = ("corruption", *(model["name"] for model in models))
    return [*lines, "", *table(head, by_corruption)]


def _mean(row: Mapping[str, float]) -> float:
    return statistics.fmean(row.values())


def _score(value: float) -> str:
    return f"{value:.3f}"


def _percent(value: Optional[float]) -> str:
    """
    >>> _percent(0.5214), _percent(None)
    ('52.1 %', '-')
    """
    return "-" if value is None else f"{100 * value:.1f} %"


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Two pictures in one: the score over the severity, and the mean score of each corruption."""
    models: Sequence[Mapping[str, Any]] = result["models"]
    names, metric = result["corruptions"], result["metric"]
    figure = Figure(figsize=(11, max(4.2, 0.34 * len(names) + 1.2)), dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, gridspec_kw=dict(width_ratios=(1, 1.25)))
    for number, model in enumerate(models):
        look: Dict[str, Any] = dict(
            marker=_MARKS[number % len(_MARKS)], color=f"C{number % 10}", label=model["name"]
        )
        steps = _by_severity(model)
        left.plot([s for s, _ in steps], [value for _, value in steps], markersize=5, **look)
        means = [_mean(model["scores"][name]) for name in names]
        right.plot(means, range(len(names)), linestyle="none", markersize=6, alpha=0.85, **look)
    left.set_xlabel("severity (0: clean images)")
    left.set_ylabel(f"{metric}, mean over {len(names)} corruption{'s' * (len(names) > 1)}")
    left.set_xticks([0, *result["severities"]])
    left.set_ylim(bottom=min(0.0, left.get_ylim()[0]))
    left.grid(alpha=0.3)
    left.legend(fontsize=8, loc="lower left")
    right.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    right.invert_yaxis()
    right.set_xlabel(f"{metric}, mean over severities {', '.join(map(str, result['severities']))}")
    right.grid(alpha=0.3)
    figure.tight_layout()
    with atomic_path(path) as temp:
        figure.savefig(str(temp), format="png")


def _by_severity(model: Mapping[str, Any]) -> List[Tuple[int, float]]:
    rows = list(model["scores"].values())
    steps = [(int(s), statistics.fmean(row[s] for row in rows)) for s in rows[0]]
    return [(0, model["clean"]), *steps]
