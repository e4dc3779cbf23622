"""What the runs of a study have left in their folders, and ``study.json``, which says so of all.

A run leaves ``done.json``, with a key of all that it depends on
(:func:`freekd.study.settings.key_of`): it is not run again while the key is the same, and moved
aside when it is not. ``started.json`` is there before, so that an interrupted run goes on
(``--auto-resume``); ``failed.json`` says why a run failed. These files are all that machines tell
each other.
"""

import json
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from freekd.fileio import atomic_write_text
from freekd.study import plan, report, result, settings
from freekd.study.definition import Study
from freekd.study.plan import Launch, Run
from freekd.study.progress import read

DONE, FAILED, NOT_RUN = "done", "failed", "not run"


class Outcome(NamedTuple):
    """Of one run."""

    status: str
    record: Optional[Mapping[str, Any]] = None  # done.json
    error: Optional[str] = None


class Ledger:
    """A study and what there is of it.

    Args:
        study: which.
        launch: how its runs are started.
        shard: (k, n): this is machine k of n.

    Raises:
        ConfigError: see :func:`freekd.study.settings.check_study`.
    """

    def __init__(self, study: Study, launch: Launch, shard: Sequence[int] = (1, 1)) -> None:
        self.study, self.launch = study, launch
        self.runs = plan.make_runs(study)
        self.rows = settings.check_study(self.runs, study.metric)
        self.metric = study.metric or next(iter(self.rows[study.baseline].scores), None)
        self.mine = plan.shard(self.runs, *shard)
        self.processes = 1 if launch.gpus is None else launch.gpus
        self.outcomes: Dict[str, Outcome] = {}

    def key(self, run: Run) -> str:
        """Of all that a run depends on."""
        return settings.key_of(run, settings.read_settings(run), self.processes)

    def look(self, run: Run) -> Outcome:
        """What a run has left, here or on another machine."""
        record, failed = read(run.folder / "done.json"), read(run.folder / "failed.json")
        if record is None:
            begun = (run.folder / "started.json").is_file()
            why = "it was interrupted" if begun else "it has not been started"
            return Outcome(FAILED, error=failed["error"]) if failed else Outcome(NOT_RUN, error=why)
        if record.get("key") != self.key(run):
            was, here = record.get("data") or {}, self.rows[run.row].data
            why = "it was trained with other settings, or on other files"
            if here is not None and was.get("digest", here.digest) != here.digest:
                why = f"it was scored on other data: {was['name']}, and this study on {here.name}"
            return Outcome(NOT_RUN, error=why)
        return self.judge(run, record)

    def look_at_all(self) -> None:
        """What all runs have left."""
        self.outcomes = {name: self.look(run) for name, run in self.runs.items()}

    def judge(self, run: Run, record: Mapping[str, Any]) -> Outcome:
        """Of a finished run: does it have the score that the table shows?"""
        found = record.get("metrics") or {}
        self.metric = self.metric or next(iter(found), None)
        if run.once or self.metric in found:
            return Outcome(DONE, record)
        return Outcome(
            FAILED, record, f"expected the score {self.metric!r} of its last evaluation, found "
            f"{', '.join(found) or 'none'}. Set 'metric' of the study, or evaluation.metric.",
        )  # fmt: skip

    def commands(self) -> List[str]:
        """What a person would type for the runs of this machine; what is finished as a comment."""
        lines = []
        for name in self.mine:
            run = self.runs[name]
            done = self.look(run).status == DONE
            text = plan.typed(*plan.train_command(run, self.launch))
            lines.append(f"# {name}{': finished' if done else ''}")
            lines.append(f"# {text}" if done else text)
        return lines

    def write(self) -> Dict[str, Any]:
        """``study.json`` as things are now; returns its content."""
        study, runs = self.study, []
        for name, run in self.runs.items():
            outcome = self.outcomes.get(name, Outcome(NOT_RUN))
            record = outcome.record or {}
            command = plan.typed(*plan.train_command(run, self.launch))
            runs.append(
                {
                    "row": run.row,
                    "label": study.rows[run.row].label,
                    "seed": run.seed,
                    "status": outcome.status,
                    "metrics": record.get("metrics") or {},
                    "metric": self.metric,
                    "seconds": record.get("seconds"),
                    "step_ms": record.get("step_ms"),
                    "work_dir": str(run.folder),
                    "command": record.get("command") or command,
                    "error": outcome.error,
                    "machine": record.get("machine"),
                }
            )
        labels = {row.name: row.label for row in study.rows.values()}
        compared = [row.name for row in study.rows.values() if row.seed is None]
        data = self.rows[study.baseline].data
        finished = [outcome.record for outcome in self.outcomes.values() if outcome.record]
        said = next((record for record in finished if record.get("versions")), {})
        content = {
            "kind": "study",
            "name": study.name,
            "baseline": study.baseline,
            "metric": self.metric,
            "seeds": list(study.seeds),
            "rows": result.summarise(runs, labels, study.baseline, self.metric or "", compared),
            "runs": runs,
            "data": data.name if data else None,
            "data_digest": data.digest if data else None,
            "versions": said.get("versions") or report.versions(),
            "machine": said.get("machine") or report.machine(self.launch.device),
        }
        atomic_write_text(study.work_dir / "study.json", json.dumps(content, indent=1) + "\n")
        return content
