"""Runs a study: each run in a process of its own, some side by side, what is finished is kept.

What runs leave in their folders is in :mod:`freekd.study.ledger`.
"""

import json
import os
import subprocess
import time
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

from freekd import compat
from freekd.config.errors import ConfigError
from freekd.fileio import atomic_write_text
from freekd.study import plan, report, scores
from freekd.study.definition import Study
from freekd.study.ledger import DONE, FAILED, NOT_RUN, Ledger, Outcome
from freekd.study.plan import Launch, Run
from freekd.study.progress import Child, Steps, read, stop


class Active(NamedTuple):
    """A run in progress."""

    run: Run
    key: str
    child: Child
    slot: int
    evaluating: bool = False


class Runner(Ledger):
    """A study on this machine.

    Args:
        study: what to run.
        launch: how.
        jobs: how many runs side by side.
        shard: (k, n): only the runs of machine k of n.
        wait: hours to wait for runs of other machines that ours need.
        steps: shows the progress; None: one of its own.
        only: names of the runs to do; None: all of this machine.

    Raises:
        ConfigError: see :func:`freekd.study.settings.check_study`.
    """

    def __init__(
        self, study: Study, launch: Launch = Launch(), jobs: int = 1,  # noqa: B008
        shard: Sequence[int] = (1, 1), wait: float = 0.0, steps: Optional[Steps] = None,
        only: Optional[Sequence[str]] = None,
    ) -> None:  # fmt: skip
        super().__init__(study, launch, shard)
        if only is not None:
            self.mine = [name for name in self.mine if name in only]
        self.jobs, self.patience, self.steps = jobs, 3600 * wait, steps

    # ------------------------------------------------------------------ running
    def execute(self) -> bool:
        """Run what is not finished; returns whether all runs of this machine are done.

        A failure stops no other run, but those that need it.
        """
        self.look_at_all()
        self.write()
        self.steps = self.steps or Steps(self.study.work_dir, self._guesses(), self.jobs, False)
        pending, running = list(self.mine), {}  # type: ignore[var-annotated]
        waiting_since = time.monotonic()
        try:
            while pending or running:
                self._fill(pending, running)
                if running:
                    children = [active.child for active in running.values()]
                    free = pending and len(running) < self.jobs  # another machine may have ended
                    for child in self.steps.wait(children, 30.0 if free else None):
                        self._ended(child, running)
                    waiting_since = time.monotonic()
                elif pending:  # for other machines
                    if time.monotonic() - waiting_since >= self.patience:
                        break
                    time.sleep(min(5.0, self.patience))
        except BaseException:
            stop(*(active.child.process for active in running.values()))
            for active in running.values():
                self._count(active)
                self.outcomes[active.run.name] = self.look(active.run)
            raise
        finally:
            for name in self.runs:
                if name not in self.mine:
                    self.outcomes[name] = self.look(self.runs[name])
            self.write()
        return all(self.outcomes[name].status == DONE for name in self.mine)

    def _fill(self, pending: List[str], running: Dict[str, Active]) -> None:
        for name in list(pending):
            if len(running) >= self.jobs:
                return
            run = self.runs[name]
            found = [self._need(need, pending, running) for need in run.needs]
            if any(state == NOT_RUN for state in found):
                need = run.needs[found.index(NOT_RUN)]
                why = f"it needs {need}"
                if need not in self.mine:
                    why += ", which belongs to another --shard: run that first, then this again"
                self.outcomes[name] = Outcome(NOT_RUN, error=why)
                continue
            pending.remove(name)
            if FAILED in found:
                need = run.needs[found.index(FAILED)]
                self._fails(run, f"not run: it needs {need}, which failed", NOT_RUN)
                continue
            used = {active.slot for active in running.values()}
            slot = next(number for number in range(self.jobs) if number not in used)
            try:
                active = self._begin(run, slot)
            except (ConfigError, OSError) as error:
                self._fails(run, str(error))
                continue
            if active is not None:
                running[name] = active

    def _need(self, name: str, pending: List[str], running: Mapping[str, Active]) -> str:
        if name in pending or name in running:
            return NOT_RUN
        if name in self.mine:
            return DONE if self.outcomes[name].status == DONE else FAILED
        return DONE if self.look(self.runs[name]).status == DONE else NOT_RUN

    def _share(self, run: Run) -> float:
        return 1.0 / sum(self.runs[name].row == run.row for name in self.mine)

    def _begin(self, run: Run, slot: int) -> Optional[Active]:
        """Start a run; None where it is finished."""
        assert self.steps is not None
        out, key = run.folder, self.key(run)
        record, begun = read(out / "done.json"), read(out / "started.json") or {}
        if record is not None and record.get("key") == key:
            self.outcomes[run.name] = self.judge(run, record)
            self.steps.skip(run.name, run.row, self._share(run))
            return None
        foreign = record is None and not begun and any(out.glob("*.pth"))  # typed by hand, say
        if record is not None or foreign or begun.get("key", key) != key:
            kept = out.with_name(f"{out.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
            with compat.quiet_imports():
                from freekd.engine.launch import own_work_dir
            with own_work_dir(str(out), patience=0.0):  # not from under a run that goes on
                out.rename(kept)
            self.steps.say(f"{run.name}: trained with other settings before; kept as {kept}")
            begun = {}
        (out / "failed.json").unlink() if (out / "failed.json").is_file() else None
        out.mkdir(parents=True, exist_ok=True)
        begun = {"key": key, "seconds": begun.get("seconds", 0.0)}
        atomic_write_text(out / "started.json", json.dumps(begun))
        command, environment = plan.train_command(run, self.launch)
        environment = {**environment, **self._environment(slot)}
        child = self.steps.start(run.name, run.row, command, out, self._share(run), environment)
        return Active(run, key, child, slot)

    def _environment(self, slot: int) -> Dict[str, str]:
        """Side by side, each has its share of the cores and a GPU of its own."""
        if self.jobs == 1 or self.launch.launcher != "none":
            return {}
        share = max(1, (os.cpu_count() or 1) // (self.jobs * self.processes))
        found = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(share)}
        if self.launch.device != "cpu":
            import torch

            there, visible = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
            chosen = plan.devices_of_job(slot, self.jobs, self.processes, there, visible)
            found.update({} if chosen is None else {"CUDA_VISIBLE_DEVICES": chosen})
        return found

    def _ended(self, child: Child, running: Dict[str, Active]) -> None:
        assert self.steps is not None
        active = next(one for one in running.values() if one.child is child)
        run = active.run
        del running[run.name]
        self._count(active)
        file = run.folder / "evaluation.json"
        try:
            self.steps.end(child)
            found = scores.evaluated(file) if active.evaluating else None
        except subprocess.CalledProcessError as error:
            return self._fails(run, error.output)
        except (OSError, ValueError, KeyError) as error:
            return self._fails(run, f"{file} cannot be read: {error}")
        found = scores.last_evaluation(run.folder) if found is None else found
        missing = not found and not active.evaluating
        if missing and self.rows[run.row].config.get("evaluation") is not None:
            # stopped after its last checkpoint, or nothing was detected
            step, command = f"{run.name}, evaluation", plan.evaluate_command(run, self.launch, file)
            begun = self.steps.start(step, run.row, command, run.folder, 0.0)
            running[run.name] = active._replace(child=begun, evaluating=True)
            return None
        self._done(active, found or {})
        return None

    def _count(self, active: Active) -> None:
        """The seconds of an interrupted run count, too."""
        file = active.run.folder / "started.json"
        begun = read(file) or {"key": active.key}
        seconds = begun.get("seconds", 0.0) + time.monotonic() - active.child.start
        atomic_write_text(file, json.dumps({**begun, "seconds": seconds}))

    def _done(self, active: Active, found: Mapping[str, float]) -> None:
        run = active.run
        data = self.rows[run.row].data
        record = {
            "key": active.key,
            "seconds": round((read(run.folder / "started.json") or {}).get("seconds", 0.0), 1),
            "metrics": dict(found),
            "step_ms": scores.step_ms(run.folder),
            "data": data._asdict() if data else None,
            "command": plan.typed(*plan.train_command(run, self.launch)),
            "machine": report.machine(self.launch.device),
            "versions": report.versions(),
        }
        atomic_write_text(run.folder / "done.json", json.dumps(record, indent=1))
        self.outcomes[run.name] = outcome = self.judge(run, record)
        if outcome.status == FAILED and self.steps:
            self.steps.say(f"{run.name}: {outcome.error}")
        self.write()

    def _fails(self, run: Run, error: str, status: str = FAILED) -> None:
        assert self.steps is not None
        self.outcomes[run.name] = Outcome(status, error=error)
        self.steps.say(f"{run.name}: {error}")
        if status == FAILED:
            run.folder.mkdir(parents=True, exist_ok=True)
            atomic_write_text(run.folder / "failed.json", json.dumps({"error": error}, indent=1))
        self.write()

    def _guesses(self) -> Dict[str, float]:
        """Row -> seconds of all its runs, from those that are finished."""
        known: Dict[str, List[float]] = {}
        for name, outcome in self.outcomes.items():
            if outcome.record is not None:
                row = self.runs[name].row
                known.setdefault(row, []).append(float(outcome.record["seconds"]))
        each = {row: sum(values) / len(values) for row, values in known.items()}
        usual = sum(each.values()) / len(each) if each else 60.0
        mine = [self.runs[name] for name in self.mine]
        return {
            row: each.get(row, usual) * sum(run.row == row for run in mine)
            for row in self.study.rows
        }
