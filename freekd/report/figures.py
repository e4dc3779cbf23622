"""What the page shows of the results: the first figures, the small pictures in the table."""

from typing import Any, Dict, List

from freekd.report.material import Material
from freekd.report.results import Result, Results, last_scores
from freekd.report.text import exact, score, signed


def headline(table: Results) -> List[Dict[str, str]]:
    """The three figures of the first screen: the best student, the student alone, the teacher."""
    students = [row for row in table.rows if not row.reference and row.mean is not None]
    alone = next((row for row in students if row.row == table.baseline), None)
    teacher = next((row for row in table.rows if row.reference and row.mean is not None), None)
    others = [row for row in students if row is not alone]
    best = max(others, key=lambda row: row.mean or 0.0, default=None)
    found = []
    if best:
        said = "highest mean" if len(others) > 1 else "student" if alone or teacher else ""
        found.append(_figure(best, said))
        if best.gain is not None and best.base:
            found[0]["gain"] = f"{signed(best.gain)} over {best.base}"
    if alone:
        found.append(_figure(alone, "baseline"))
    if teacher:
        found.append(_figure(teacher, "teacher"))
    return found


def _figure(row: Result, said: str) -> Dict[str, str]:
    spread = "" if row.std is None else f"± {score(row.std)} over {len(row.by_seed)} seeds"
    return {"said": said, "label": row.label, "value": score(row.mean), "spread": spread,
            "gain": ""}  # fmt: skip


def columns(table: Results) -> Dict[str, bool]:
    names = ("std", "gain", "gain_low", "parameters", "seconds", "step_ms", "status")
    found = {n: any(getattr(row, n) not in (None, "") for row in table.rows) for n in names}
    return {**found, "by_seed": any(len(row.by_seed) > 1 for row in table.rows)}


def track(table: Results) -> Dict[str, Any]:
    """For the small picture in each row: row -> x of the mean, of each seed; 0 to 150."""
    values = [v for row in table.rows for v in (*row.by_seed.values(), row.mean) if v is not None]
    if len(values) < 2 or min(values) == max(values):
        return {}
    low, high = min(values), max(values)

    def place(value: float) -> float:
        return round(6 + 138 * (value - low) / (high - low), 1)

    return {
        row.row: {
            "mean": place(row.mean),
            "seeds": [place(v) for v in row.by_seed.values()],
            "ends": [place(min([*row.by_seed.values(), row.mean])),
                     place(max([*row.by_seed.values(), row.mean]))],
        }
        for row in table.rows
        if row.mean is not None
    }  # fmt: skip


def all_scores(material: Material) -> Dict[str, Any]:
    """Every score of the last evaluation of each run, digit by digit as logged."""
    runs = [(item.run.name, last_scores(item.run)) for item in material.items]
    keys = list(dict.fromkeys(key for _, scores in runs for key in scores))
    rows = [[name, *(exact(scores.get(key)) for key in keys)] for name, scores in runs if scores]
    return {"head": ["run", *keys], "rows": rows}
