"""The result of a study: ``study.json`` and the table.

A row's mean and standard deviation are over its own finished seeds. Its gain is the mean of the
paired differences to the baseline over the seeds that both have; pairing takes away what a seed
does to all rows alike. The interval is Student's t of these differences: mean +- t(.975, n - 1) s /
sqrt(n). It says what other seeds would change, and nothing of other data.
"""

import math
import statistics
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from freekd.words import number
from freekd.words import table as columns

LEVEL = 0.95  # of the interval


class Gain(NamedTuple):
    """A paired difference; the interval is None for fewer than two seeds."""

    mean: float
    low: Optional[float]
    high: Optional[float]
    n: int


def paired(scores: Mapping[int, float], baseline: Mapping[int, float]) -> Optional[Gain]:
    """What a row gains on the baseline over equal seeds; None where they have no seed in common.

    >>> gain = paired({0: 0.70, 1: 0.72, 2: 0.9}, {0: 0.50, 1: 0.54})
    >>> [round(x, 3) for x in gain]  # differences .20 and .18; t(.975, 1) = 12.706
    [0.19, 0.063, 0.317, 2]
    """
    differences = [scores[seed] - baseline[seed] for seed in sorted(scores) if seed in baseline]
    if not differences:
        return None
    mean, n = statistics.mean(differences), len(differences)
    if n < 2:
        return Gain(mean, None, None, n)
    from scipy.stats import t

    half = float(t.ppf(0.5 + LEVEL / 2, n - 1)) * statistics.stdev(differences) / math.sqrt(n)
    return Gain(mean, mean - half, mean + half, n)


def summarise(
    runs: Sequence[Mapping[str, Any]], labels: Mapping[str, str], baseline: str, metric: str,
    compared: Sequence[str],
) -> List[Dict[str, Any]]:  # fmt: skip
    """The rows of a table from the runs of ``study.json``.

    Args:
        runs: with row, seed, status, metrics, step_ms, command.
        labels: row -> how the table calls it, in order.
        baseline: a row.
        metric: which score.
        compared: rows that have a gain (the baseline itself has none).
    """
    scores: Dict[str, Dict[int, float]] = {row: {} for row in labels}
    for run in runs:
        if run["status"] == "done" and metric in run["metrics"]:
            scores[run["row"]][run["seed"]] = float(run["metrics"][metric])
    rows = []
    for row, label in labels.items():
        own = [run for run in runs if run["row"] == row]
        values = list(scores[row].values())
        steps = [r["step_ms"] for r in own if r["status"] == "done" and r["step_ms"] is not None]
        gain = None
        if row != baseline and row in compared:
            gain = paired(scores[row], scores[baseline])
        rows.append(
            {
                "row": row,
                "label": label,
                "mean": statistics.mean(values) if values else None,
                "std": statistics.stdev(values) if len(values) > 1 else None,
                "n": len(values),
                "gain": gain.mean if gain else None,
                "gain_low": gain.low if gain else None,
                "gain_high": gain.high if gain else None,
                "gain_n": gain.n if gain else 0,
                "step_ms": round(statistics.mean(steps), 2) if steps else None,
                "failed": sum(run["status"] == "failed" for run in own),
                "missing": sum(run["status"] not in ("done", "failed") for run in own),
                "command": own[0]["command"] if own else "",
            }
        )
    return rows


# --------------------------------------------------------------------------- as text
def table(study: Mapping[str, Any]) -> str:
    """The table of a ``study.json``, what failed, and the command of each row."""
    base = next((r["label"] for r in study["rows"] if r["row"] == study["baseline"]), "")
    head = ("row", study["metric"] or "score", "seeds", f"gain on {base}", "95 % interval",
            "ms per step", "")  # fmt: skip
    lines = columns(head, [_line(row) for row in study["rows"]])
    lines.insert(1, "-" * len(lines[0]))
    machines = sorted({run["machine"] for run in study["runs"] if run.get("machine")})
    if len(machines) > 1:
        lines += ["", f"the runs are of machines that differ ({'; '.join(machines)}): ms per step "
                  "cannot be compared"]  # fmt: skip
    lines += ["", "the command of each row, with its first seed:"]
    lines += [f"{row['label']}: {row['command']}" for row in study["rows"]]
    for status in ("failed", "not run"):
        found = [run for run in study["runs"] if run["status"] == status]
        lines += [""] if found else []
        lines += [f"{r['row']}, seed {r['seed']}: {status}. {r['error'] or ''}" for r in found]
    return "\n".join(lines)


def _line(row: Mapping[str, Any]) -> Tuple[str, ...]:
    score = "-" if row["mean"] is None else f"{row['mean']:.3f}"
    score += "" if row["std"] is None else f" +- {row['std']:.3f}"
    interval = "-"
    if row["gain_low"] is not None:
        interval = f"{row['gain_low']:+.3f} to {row['gain_high']:+.3f}"
    state = [f"{row['failed']} FAILED"] if row["failed"] else []
    state += [f"{row['missing']} not run"] if row["missing"] else []
    gain = "-" if row["gain"] is None else f"{row['gain']:+.3f}"
    if row["gain_n"] and row["gain_n"] < row["n"]:
        gain += f" ({row['gain_n']} seeds)"
    return (row["label"], score, str(row["n"]), gain, interval, number(row["step_ms"]),
            ", ".join(state))  # fmt: skip
