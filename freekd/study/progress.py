"""Runs steps as child processes and shows how far they are and how long it will take.

A child writes ``progress.json`` in its folder (see :class:`freekd.engine.hooks.ProgressHook`);
everything it prints goes to ``output.log`` there. Several children may run side by side.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence


def clock(seconds: float) -> str:
    """``75`` -> ``1:15``, ``3675`` -> ``1:01:15``.

    >>> clock(75), clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d}"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class Child(NamedTuple):
    """A step that runs."""

    step: str
    group: str
    guess: float  # seconds
    command: Sequence[str]
    folder: Path
    process: Any
    start: float

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder / "output.log"


class Steps:
    """Steps, one after another or side by side, with the remaining time of all.

    Args:
        work: the work folder.
        guesses: group of steps -> seconds they take on the machine where they were measured; what
            has run so far says how this machine compares.
        jobs: how many run side by side.
        known: whether the guesses are of any use before a step has run.
    """

    def __init__(
        self, work: Path, guesses: Mapping[str, float], jobs: int = 1, known: bool = True
    ) -> None:
        self.work = work
        self.guesses = dict(guesses)
        self.left = dict(guesses)
        self.jobs = jobs
        self.known = known
        self.begun = time.monotonic()
        self.measured = 0.0  # seconds spent in finished steps, and
        self.guessed = 0.0  # what the guesses said of them
        self.shown = 0.0
        self.tty = sys.stdout.isatty()

    def say(self, text: str) -> None:
        """Print one line that stays."""
        end = "\033[K\n" if self.tty else "\n"
        print(("\r" if self.tty else "") + text, end=end, flush=True)

    def skip(self, step: str, group: str, share: float = 1.0, why: str = "already there") -> None:
        """A step that needs no run."""
        self.left[group] -= self.guesses[group] * share
        self.say(f"{step}: {why}")

    # ------------------------------------------------------------------ children
    def start(
        self, step: str, group: str, command: Sequence[str], folder: Path, share: float = 1.0,
        environment: Optional[Mapping[str, str]] = None,
    ) -> Child:  # fmt: skip
        """Start a command."""
        folder.mkdir(parents=True, exist_ok=True)
        progress = folder / "progress.json"
        if progress.exists():
            progress.unlink()
        variables = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        with open(folder / "output.log", "ab") as output:
            process = subprocess.Popen(
                list(command), stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env=variables, start_new_session=True,
            )  # fmt: skip
        guess = self.guesses[group] * share
        return Child(step, group, guess, list(command), folder, process, time.monotonic())

    def end(self, child: Child) -> float:
        """Count a child that has ended; returns its seconds.

        Raises:
            subprocess.CalledProcessError: it failed; ``output`` says where its log is, with the
                last lines.
        """
        seconds = time.monotonic() - child.start
        self.left[child.group] -= child.guess
        if child.process.returncode:
            code = child.process.returncode
            tail = "\n".join(child.log.read_text(errors="replace").splitlines()[-15:])
            text = f"{child.step} failed (exit {code}); the end of {child.log}:\n{tail}"
            raise subprocess.CalledProcessError(code, list(child.command), output=text)
        self.measured += seconds
        self.guessed += child.guess
        self.say(f"{child.step}: done in {clock(seconds)}")
        return seconds

    def run(
        self, step: str, group: str, command: Sequence[str], folder: Path, share: float = 1.0
    ) -> float:
        """Run a command to its end; returns its seconds, and raises as :meth:`end`."""
        child = self.start(step, group, command, folder, share)
        try:
            self.wait([child])
        except BaseException:
            stop(child.process)
            raise
        return self.end(child)

    def wait(self, children: Sequence[Child], limit: Optional[float] = None) -> List[Child]:
        """Wait until at least one has ended, and show how far all are; returns those that ended.

        Args:
            children: that run.
            limit: seconds after which there is something else to do.
        """
        begun = time.monotonic()
        while all(child.process.poll() is None for child in children):
            time.sleep(0.2)
            now = time.monotonic()
            if limit is not None and now - begun >= limit:
                break
            if now - self.shown >= (0.5 if self.tty else 15.0):
                self.shown = now
                self._show(children, now)
        return [child for child in children if child.process.poll() is not None]

    def _show(self, children: Sequence[Child], now: float) -> None:
        parts, rest, spent, guessed = [], [], self.measured, self.guessed
        for child in children:
            record = read(child.folder / "progress.json")
            text, left = f"{child.step}: starting", None
            if record:
                text = f"{child.step}: {record['iter']}/{record['max_iters']}"
                if record.get("loss") is not None:
                    text += f", loss {record['loss']:.3f}"
                left = record.get("eta_seconds")
            if left is not None:
                text += f", {clock(left)} left"
                if not self.known:  # a run on its way tells more than a guess
                    spent, guessed = spent + now - child.start + left, guessed + child.guess
            parts.append(text)
            rest.append((left, child.guess))
        text, of_all = "; ".join(parts), self._of_all(rest, spent, guessed)
        if self.tty:  # one line: what is too long could not be written over
            room = shutil.get_terminal_size().columns - 1 - len(of_all)
            text = text if len(text) <= room else text[: max(0, room - 3)] + "..."
            print("\r" + text + of_all + "\033[K", end="", flush=True)
        else:
            print(text + of_all, flush=True)

    def _of_all(self, rest: Sequence[Any], spent: float, guessed: float) -> str:
        if not guessed and not self.known:
            return " (of all: not known yet)"
        pace = spent / guessed if guessed else 1.0
        running = [guess * pace if left is None else left for left, guess in rest]
        waiting = sum(max(v, 0.0) for v in self.left.values()) - sum(guess for _, guess in rest)
        total = (sum(running) + max(waiting, 0.0) * pace) / self.jobs
        return f" (of all: about {clock(max([total, *running]))} left)"

    def finish(self) -> None:
        """Say how long it all took."""
        self.say(f"all done in {clock(time.monotonic() - self.begun)}")


def read(path: Path) -> Optional[Dict[str, Any]]:
    """The content of a json file, or None while there is none."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def stop(*children: Any) -> None:
    """End children and what they started; each has a process group of its own.

    All are told before one is waited for: a second control-C meanwhile leaves none that goes on.
    """
    left = list(children)
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        left = [child for child in left if _told(child, sig)]
        end = time.monotonic() + 10
        for child in left:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=max(0.0, end - time.monotonic()))
        left = [child for child in left if child.poll() is None]


def _told(child: Any, sig: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, sig)
        return True
    return False
