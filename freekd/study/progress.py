"""Runs steps as child processes and shows how far they are and how long it will take.

A child writes ``progress.json`` in its folder (see :class:`freekd.engine.hooks.ProgressHook`);
everything it prints goes to ``output.log`` there.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, Optional, Sequence


def clock(seconds: float) -> str:
    """``75`` -> ``1:15``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Steps:
    """Step after step, with the remaining time of all.

    Args:
        work: the work folder.
        guesses: group of steps -> seconds they take on the machine where they were measured; what
            has run so far says how this machine compares.
    """

    def __init__(self, work: Path, guesses: Dict[str, float]) -> None:
        self.work = work
        self.guesses = guesses
        self.left = dict(guesses)
        self.begun = time.monotonic()
        self.measured = 0.0  # seconds spent in finished steps, and
        self.guessed = 0.0  # what the guesses said of them
        self.tty = sys.stdout.isatty()

    def say(self, text: str) -> None:
        """Print one line that stays."""
        end = "\033[K\n" if self.tty else "\n"
        print(("\r" if self.tty else "") + text, end=end, flush=True)

    def skip(self, step: str, group: str, share: float = 1.0, why: str = "already there") -> None:
        """A step that needs no run."""
        self.left[group] -= self.guesses[group] * share
        self.say(f"{step}: {why}")

    def run(
        self, step: str, group: str, command: Sequence[str], folder: Path, share: float = 1.0
    ) -> float:
        """Run a command; returns its seconds.

        Raises:
            subprocess.CalledProcessError: it failed; ``output`` says where its log is, with the
                last lines.
        """
        folder.mkdir(parents=True, exist_ok=True)
        progress, log = folder / "progress.json", folder / "output.log"
        if progress.exists():
            progress.unlink()
        guess = self.guesses[group] * share
        start = time.monotonic()
        with open(log, "ab") as output:
            child = subprocess.Popen(
                list(command), stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONUNBUFFERED": "1"}, start_new_session=True,
            )  # fmt: skip
            try:
                self._watch(child, step, progress, guess, group, start)
            except BaseException:
                stop(child)
                raise
        seconds = time.monotonic() - start
        if child.returncode:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            text = f"{step} failed (exit {child.returncode}); the end of {log}:\n{tail}"
            raise subprocess.CalledProcessError(child.returncode, list(command), output=text)
        self.left[group] -= guess
        self.measured += seconds
        self.guessed += guess
        self.say(f"{step}: done in {clock(seconds)}")
        return seconds

    def _watch(
        self, child: Any, step: str, progress: Path, guess: float, group: str, start: float
    ) -> None:
        shown = 0.0
        while child.poll() is None:
            time.sleep(0.2)
            now = time.monotonic()
            if now - shown < (0.5 if self.tty else 15.0):
                continue
            shown = now
            record = read(progress)
            text = f"{step}: starting"
            here = guess
            if record:
                text = f"{step}: {record['iter']}/{record['max_iters']}"
                if record.get("loss") is not None:
                    text += f", loss {record['loss']:.3f}"
                if record.get("eta_seconds") is not None:
                    here = record["eta_seconds"]
                    text += f", {clock(here)} left"
            others = sum(max(v, 0.0) for v in self.left.values()) - guess
            pace = self.measured / self.guessed if self.guessed else 1.0
            text += f" (of all: about {clock(here + max(others, 0.0) * pace)} left)"
            if self.tty:
                print("\r" + text + "\033[K", end="", flush=True)
            else:
                print(text, flush=True)

    def finish(self) -> None:
        """Say how long it all took."""
        self.say(f"all done in {clock(time.monotonic() - self.begun)}")


def read(path: Path) -> Optional[Dict[str, Any]]:
    """The content of a json file, or None while there is none."""
    try:
        content: Dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content


def stop(child: Any) -> None:
    """End a child and what it started; it has a process group of its own."""
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, sig)
        except ProcessLookupError:
            return
        try:
            child.wait(timeout=10)
            return
        except subprocess.TimeoutExpired:
            continue
