"""What a run left: the scores of its last evaluation, and the time of a step."""

import contextlib
import json
import statistics
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

from freekd.analysis.logs import SUFFIX, read_log
from freekd.fileio import UnreadableFileError


def last_evaluation(folder: Path) -> Optional[Dict[str, float]]:
    """The scores of the evaluation at the end of a run, from its json logs.

    None where there was none: of a run that was stopped between its last checkpoint and that
    evaluation, the process that found it finished logs its first line alone. What was evaluated
    before is of other weights. No scores, as where nothing is detected, are an empty dict.

    Scores of a dataset come in its own order: the main one first, as mmcv's ``save_best="auto"``
    takes it.
    """
    found = None
    for record in records(folder):
        if "mode" not in record:  # a process began
            found = None
        if record.get("mode") == "val":
            skip = ("mode", "epoch", "iter", "lr", "memory", "time", "data_time")
            found = {
                key: float(value)
                for key, value in record.items()
                if key not in skip and isinstance(value, (int, float))
            }
    return found


def step_ms(folder: Path) -> Optional[float]:
    """Milliseconds of a training step: the median over what the logs say; None: they say nothing.

    A run that was interrupted counts with all of its parts; what the first step of each costs more
    does not move a median.
    """
    times = [
        float(record["time"])
        for record in records(folder)
        if record.get("mode") == "train" and isinstance(record.get("time"), (int, float))
    ]
    return round(1000 * statistics.median(times), 2) if times else None


def records(folder: Path) -> Iterator[Dict[str, Any]]:
    """The lines of a run's json logs, oldest first; what is cut off, or no log, is passed over."""
    for log in sorted(folder.glob(f"*{SUFFIX}")):
        with contextlib.suppress(UnreadableFileError):
            yield from read_log(log, notes=[])


def evaluated(path: Path) -> Dict[str, float]:
    """The scores in a file of ``tools/test.py --json``."""
    metrics: Dict[str, float] = json.loads(path.read_text())["metrics"]
    return metrics
