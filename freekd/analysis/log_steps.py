"""The iteration of the whole run that a line of a log belongs to.

A run that counts epochs logs the iteration within the epoch, and nowhere how many an epoch has;
what an evaluation logs as ``iter`` is how many batches it had. So both are worked out here.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from freekd.analysis.config_text import lookup, read_config_text

Line = Dict[str, Any]
_PROGRESS = re.compile(r"Epoch \[\d+\]\[\d+/(\d+)\]")


@dataclass
class Part:
    """What one process of a run logged: one file, or a part of one after a first line."""

    meta: Dict[str, Any]
    file: Path
    lines: List[Line] = field(default_factory=list)

    @property
    def config(self) -> Dict[str, Any]:
        return read_config_text(str(self.meta.get("config") or ""))


def split(lines: Sequence[Line], file: Path) -> List[Part]:
    """Cut at each line that has no mode: there a process began."""
    parts: List[Part] = []
    for line in lines:
        if "mode" not in line:
            parts.append(Part(line, file))
            continue
        if not parts:
            parts.append(Part({}, file))
        if line["mode"] in ("train", "val") and _counted(line):
            parts[-1].lines.append(_flat(line))
    return parts


def _counted(line: Line) -> bool:
    return all(isinstance(line.get(key), int) for key in ("epoch", "iter"))


def _flat(line: Line) -> Line:
    """Learning rates of several optimizers get names of their own."""
    flat: Line = {}
    for key, value in line.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{name}": one for name, one in value.items()})
        else:
            flat[key] = value
    return flat


def join(parts: Sequence[Part], notes: List[str]) -> Tuple[List[Line], List[Line], Optional[int]]:
    """The lines of all parts as one run, each with its ``step``.

    Args:
        parts: Oldest first. From its first training step on, a later one replaces earlier ones.
        notes: Takes what had to be guessed.

    Returns:
        Training lines, lines with scores, and the iterations of an epoch (None: not counted so).
    """
    parts = [part for part in parts if part.lines]
    by_iteration = [counts_iterations(part) for part in parts]
    lengths = _epoch_lengths(parts, by_iteration, notes)
    joined: List[Line] = []
    for part, length in zip(parts, lengths):
        lines = _iterations(part) if length is None else _epochs(part, length)
        first = min((line["step"] for line in lines if line["mode"] == "train"), default=None)
        if first is None:  # evaluated once more, or so early that nothing else was logged
            steps = {line["step"] for line in lines}
            joined = [
                line for line in joined if line["mode"] == "train" or line["step"] not in steps
            ]
        else:
            joined = [line for line in joined if line["step"] < first]
        joined += lines
    joined.sort(key=lambda line: line["step"])
    train = [line for line in joined if line["mode"] == "train"]
    val = [line for line in joined if line["mode"] == "val"]
    return train, val, lengths[-1] if lengths else None


# --------------------------------------------------------------------------- how it counts
def counts_iterations(part: Part) -> bool:
    """Whether ``iter`` goes on over epochs: the lines say it, else the config."""
    train = [line for line in part.lines if line["mode"] == "train"]
    for before, line in zip(train, train[1:]):
        if line["epoch"] > before["epoch"]:
            return bool(line["iter"] > before["iter"])
    hooks = lookup(part.config, "log_config.hooks")
    for hook in hooks if isinstance(hooks, (list, tuple)) else ():
        if isinstance(hook, dict) and str(hook.get("type", "")).endswith("TextLoggerHook"):
            if isinstance(hook.get("by_epoch"), bool):
                return not hook["by_epoch"]
    if isinstance(part.meta.get("by_epoch"), bool):
        return not part.meta["by_epoch"]
    kind = str(lookup(part.config, "runner.type", ""))
    return "Iter" in kind


def _epoch_lengths(
    parts: Sequence[Part], by_iteration: Sequence[bool], notes: List[str]
) -> List[Optional[int]]:
    """Iterations of an epoch for each part; None for those that count iterations."""
    told = [None if flat else _told_length(part) for part, flat in zip(parts, by_iteration)]
    known = [length for length in told if length]
    largest = max(
        (
            line["iter"]
            for part, flat in zip(parts, by_iteration)
            for line in part.lines
            if not flat and line["mode"] == "train"
        ),
        default=0,
    )
    lengths: List[Optional[int]] = []
    for flat, length in zip(by_iteration, told):
        if flat:
            lengths.append(None)
        elif length or known:
            lengths.append(length or known[-1])
        else:
            lengths.append(largest or 1)
    if not all(by_iteration) and not known:
        notes.append(
            f"{parts[0].file}: an epoch is taken to have {largest} iterations, the largest that "
            "was logged; it can have a few more (the text log <time>.log beside it would tell)"
            if largest
            else f"{parts[0].file}: no training line was logged; the steps are epochs"
        )
    return lengths


def _told_length(part: Part) -> Optional[int]:
    """From the first line, or from the text log beside the file."""
    told = part.meta.get("iters_per_epoch")
    if isinstance(told, int) and not isinstance(told, bool) and told > 0:
        return told
    beside = part.file.with_suffix("")  # <time>.log
    if not beside.is_file() or beside == part.file:
        return None
    with open(beside, encoding="utf-8", errors="replace") as handle:
        for text in handle:
            found = _PROGRESS.search(text)
            if found:
                return int(found.group(1))
    return None


# --------------------------------------------------------------------------- the steps
def _epochs(part: Part, length: int) -> List[Line]:
    """Epochs count from 1; scores belong to the end of their epoch, or to where they stand in it.

    >>> lines = [dict(mode="train", epoch=2, iter=10), dict(mode="val", epoch=2, iter=7)]
    >>> [line["step"] for line in _epochs(Part({}, Path("a.log.json"), lines), 50)]
    [60, 100]
    """
    found: List[Line] = []
    for number, line in enumerate(part.lines):
        if line["mode"] == "train":
            step = (line["epoch"] - 1) * length + line["iter"]
        else:
            step = line["epoch"] * length
            later = part.lines[number + 1 :]
            if any(one["mode"] == "train" and one["epoch"] == line["epoch"] for one in later):
                step = found[-1]["step"] if found else step - length  # evaluated within an epoch
        found.append({**line, "step": step})
    return found


def _iterations(part: Part) -> List[Line]:
    """Training lines have it. Scores belong to the next evaluation after the line before them."""
    interval = lookup(part.config, "evaluation.interval")
    last_of_all = lookup(part.config, "runner.max_iters")
    found: List[Line] = []
    before = 0
    for number, line in enumerate(part.lines):
        if line["mode"] == "train":
            before = line["iter"]
            found.append({**line, "step": before})
            continue
        later = (one["iter"] for one in part.lines[number + 1 :] if one["mode"] == "train")
        after = next(later, None)
        step = before
        if isinstance(interval, int) and interval > 0:
            due = -(-before // interval) * interval
            if due == 0 and after is not None:  # nothing was logged before it
                due = (after - 1) // interval * interval
            if after is None or due < after:
                step = max(due, before)
            if isinstance(last_of_all, int) and step > last_of_all >= before:
                step = last_of_all  # the evaluation at the end
        elif after is not None and before < line["iter"] < after:
            step = line["iter"]  # mmcv before 1.2 wrote the iteration itself
        found.append({**line, "step": step})
    return found
