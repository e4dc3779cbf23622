"""The table of results: from a study, else from a quickstart's summary, else from the logs."""

import re
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from freekd.analysis.logs import Run
from freekd.report.material import Found, Item, Material, dicts
from freekd.study.rows import BASELINE

# What a table shows first, in this order; a task's own main score is among these.
MAIN = ("bbox_mAP", "segm_mAP", "mIoU", "accuracy_top-1", "accuracy", "mAP", "AP")
LARGEST = 1e30  # beyond it a value counts as not finite: no axis could show it
_COUNTS = {"step", "epoch", "iter", "lr", "mode", "time", "data_time", "memory"}


@dataclass
class Result:
    """One row.

    Attributes:
        row: its key, the one of :class:`freekd.report.material.Item`.
        label: what it is called.
        mean: over the seeds; None if no run of it has a score.
        std: None for one seed.
        by_seed: score of each seed.
        gain: paired difference to the baseline, with its 95 % interval where a study has it.
        base: the label of that baseline; of each study its own.
        seconds, step_ms, parameters: of one run, where known.
        status: what a person has to know, such as ``1 of 3 runs failed``.
        command: what to type to make it again.
        reference: a teacher, which is no candidate.
    """

    row: str
    label: str
    mean: Optional[float] = None
    std: Optional[float] = None
    by_seed: Dict[str, float] = field(default_factory=dict)
    gain: Optional[float] = None
    gain_low: Optional[float] = None
    gain_high: Optional[float] = None
    base: str = ""
    seconds: Optional[float] = None
    step_ms: Optional[float] = None
    parameters: Optional[int] = None
    status: str = ""
    command: str = ""
    reference: bool = False


@dataclass
class Results:
    """All rows, the name of their score, the row that gains are counted from, failed runs."""

    rows: List[Result]
    metric: str
    baseline: Optional[str]
    errors: List[str] = field(default_factory=list)


def results(material: Material) -> Results:
    """The rows of all folders."""
    metric, baseline = "", None
    rows: List[Result] = []
    groups: List[Tuple[List[Result], Optional[str]]] = []  # of a folder, and its own baseline
    errors: List[str] = []
    for place in material.folders:
        prefix = material.prefix(place)
        items = [item for item in material.items if material.home(item.run.folder) == place]
        study = _first(material.studies, place, material)
        summary = _first(material.summaries, place, material)
        own: List[Result] = []
        if summary:
            own = _of_summary(summary.content, prefix, with_students=study is None)
            metric = metric or _summary_score(summary.content)[1]
        if study:
            told = _of_study(study.content, prefix, summary.content if summary else {})
            own = [row for row in own if row.row not in {one.row for one in told}] + told
            metric = metric or _study_metric(study.content)
            errors += _errors(dicts(study.content.get("runs")))
        named = {row.row for row in own}
        from_logs, logged = _of_logs([item for item in items if item.row not in named])
        if own and any(item.row == prefix + "prompts" for item in items):
            from_logs = [row for row in from_logs if row.row != prefix + "prompts"]
        rows += own + from_logs
        metric = metric or logged
        alone = str((study.content if study else {}).get("baseline") or BASELINE)
        base = prefix + alone if prefix + alone in {row.row for row in rows} else None
        groups.append((own + from_logs, base))
        baseline = baseline or base
    rows.sort(key=lambda row: not row.reference)
    named_rows = {row.row: row for row in rows}
    for group, base in groups:
        _add_gains(group, named_rows.get(base or baseline or ""))
    return Results(rows, metric, baseline, errors)


def _first(found: Sequence[Found], folder: Path, material: Material) -> Optional[Found]:
    return next((one for one in found if material.home(one.file) == folder), None)


def number(value: Any) -> Optional[float]:
    """A finite number, or None."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return float(value) if abs(value) < LARGEST else None  # of NaN no comparison is true


def is_reference(row: str) -> bool:
    """Whether a row is a teacher or its prompts: no candidate, but what students learn from."""
    return row.rpartition("/")[2] in ("teacher", "prompts")


# --------------------------------------------------------------------------- from a summary
def _summary_score(content: Dict[str, Any]) -> Tuple[str, str]:
    """The score's name in a summary, and in the evaluation; old summaries are of detection."""
    said = content.get("score")
    said = said if isinstance(said, dict) else {}
    return str(said.get("name", "mAP")), str(said.get("metric", "bbox_mAP"))


def _of_summary(content: Dict[str, Any], prefix: str, with_students: bool) -> List[Result]:
    found, score = [], _summary_score(content)[0]
    for key, row, label in (
        ("teacher", "teacher", "teacher"),
        ("prompted_teacher", "prompts", "teacher with prompts"),
    ):
        entry = content.get(key)
        if isinstance(entry, dict):
            found.append(_entry(entry, score, prefix + row, prefix + label, reference=True))
    if with_students:
        for row, entry in content["students"].items():
            if isinstance(entry, dict):
                label = prefix + str(entry.get("label") or row)
                found.append(_entry(entry, score, prefix + row, label))
    return found


def _entry(
    entry: Dict[str, Any], score: str, row: str, label: str, reference: bool = False
) -> Result:
    seeds = entry.get(f"{score}_by_seed")
    scores = {str(seed): number(v) for seed, v in seeds.items()} if isinstance(seeds, dict) else {}
    parameters = number(entry.get("parameters"))
    return Result(
        row,
        label,
        mean=number(entry.get(score)),
        std=number(entry.get(f"{score}_spread")),
        by_seed={seed: score for seed, score in scores.items() if score is not None},
        seconds=number(entry.get("seconds")),
        parameters=None if parameters is None else int(parameters),
        reference=reference,
    )


# --------------------------------------------------------------------------- from a study
def _of_study(content: Dict[str, Any], prefix: str, summary: Dict[str, Any]) -> List[Result]:
    found = []
    runs = dicts(content.get("runs"))
    sizes = {**summary.get("students", {})}
    sizes.update(teacher=summary.get("teacher"), prompts=summary.get("prompted_teacher"))
    for entry in dicts(content.get("rows")):
        name = str(entry.get("row"))
        own = [run for run in runs if str(run.get("row")) == name]
        scores = {str(run.get("seed")): _score(run) for run in own}
        seconds = [s for s in (number(run.get("seconds")) for run in own) if s is not None]
        told = sizes.get(name)
        size = number(told.get("parameters")) if isinstance(told, dict) else None
        found.append(
            Result(
                prefix + name,
                prefix + str(entry.get("label") or name),
                mean=number(entry.get("mean")),
                std=number(entry.get("std")),
                by_seed={seed: score for seed, score in scores.items() if score is not None},
                gain=number(entry.get("gain")),
                gain_low=number(entry.get("gain_low")),
                gain_high=number(entry.get("gain_high")),
                seconds=statistics.mean(seconds) if seconds else None,
                step_ms=number(entry.get("step_ms")),
                parameters=None if size is None else int(size),
                status=_status(own),
                command=str(entry.get("command") or ""),
                reference=is_reference(name),
            )
        )
    return found


def _score(run: Dict[str, Any]) -> Optional[float]:
    metrics = run.get("metrics")
    return number(metrics.get(run.get("metric"))) if isinstance(metrics, dict) else None


def _errors(runs: Sequence[Dict[str, Any]]) -> List[str]:
    """What a study says of each run that failed, the last line of it."""
    return [
        f"{run.get('label') or run.get('row')}, seed {run.get('seed')}: "
        + str(run["error"]).strip().splitlines()[-1]
        for run in runs
        if str(run.get("error") or "").strip()
    ]


def _status(runs: Sequence[Dict[str, Any]]) -> str:
    states = [str(run.get("status")) for run in runs if run.get("status") not in (None, "done")]
    counts = {state: states.count(state) for state in dict.fromkeys(states)}
    return ", ".join(f"{count} of {len(runs)} runs {state}" for state, count in counts.items())


def _study_metric(content: Dict[str, Any]) -> str:
    return next((str(r["metric"]) for r in dicts(content.get("runs")) if r.get("metric")), "")


# --------------------------------------------------------------------------- from logs
def main_metric(runs: Sequence[Run]) -> str:
    """The score that comes first: mAP, mIoU, accuracy, else the first that was logged."""
    keys = list(dict.fromkeys(key for run in runs for line in run.val for key in line))
    scores = [key for key in keys if key not in _COUNTS and not key.endswith("copypaste")]
    plain = {re.sub(r"^\d+_", "", key): key for key in reversed(scores)}
    return next((plain[name] for name in MAIN if name in plain), scores[0] if scores else "")


def last_scores(run: Run) -> Dict[str, float]:
    """The scores of the last evaluation; nothing where that gave none, whatever others gave."""
    if not run.val:
        return {}
    found = {key: number(value) for key, value in run.val[-1].items() if key not in _COUNTS}
    return {key: value for key, value in found.items() if value is not None}


def _of_logs(items: Sequence[Item]) -> Tuple[List[Result], str]:
    metric = main_metric([item.run for item in items])
    rows: Dict[str, Result] = {}
    for item in items:
        row = rows.setdefault(item.row, Result(item.row, item.label))
        row.reference = is_reference(item.row)
        score = last_scores(item.run).get(metric)
        if score is None:
            row.status = "a run without an evaluation"
        else:
            name = str(item.seed) if item.seed is not None else item.run.name
            row.by_seed[name if name not in row.by_seed else item.run.name] = score
    for row in rows.values():
        scores = list(row.by_seed.values())
        row.mean = statistics.mean(scores) if scores else None
        row.std = statistics.stdev(scores) if len(scores) > 1 else None
    return list(rows.values()), metric


def _add_gains(rows: Sequence[Result], alone: Optional[Result]) -> None:
    """The mean difference over the seeds that both have, where no study counted it."""
    for row in rows:
        row.base = alone.label if alone else ""
        if alone is None or row is alone or row.reference or row.gain is not None:
            continue
        pairs = [row.by_seed[s] - alone.by_seed[s] for s in row.by_seed if s in alone.by_seed]
        row.gain = statistics.mean(pairs) if pairs else None
