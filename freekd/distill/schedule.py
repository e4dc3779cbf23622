"""When a distillation term acts: ``start``, ``stop`` and ``warmup`` of an entry of ``pair.losses``.

In iteration t of the run, counted from 0, a term's weight is ``loss_weight * f(t)``::

    f(t) = 0                                    t < start, or t >= stop
    f(t) = min(1, (t - start + 1) / warmup)     otherwise

f depends on the iteration alone, so that a resumed run has the weight of the uninterrupted one.
"""

import inspect
import re
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional

TIMES = ("start", "stop", "warmup")
EPOCHS, ITERATIONS = "epochs", "iterations"
MOST = 10**9
_WRITTEN = re.compile(r"([0-9]{1,10}) *(epochs?|iters?|iterations?)")


class Time(NamedTuple):
    """A point or a length of time; ``unit`` None: as the run's runner counts."""

    count: int
    unit: Optional[str] = None

    def __str__(self) -> str:
        return f"'{self.count} {self.unit}'" if self.unit else str(self.count)


class Run(NamedTuple):
    """How long a run is; ``epochs`` None: its runner counts iterations."""

    iterations: int
    epochs: Optional[int] = None

    @property
    def unit(self) -> str:
        """What a plain integer counts."""
        return ITERATIONS if self.epochs is None else EPOCHS

    @property
    def per_epoch(self) -> int:
        """Iterations of an epoch; 1 where iterations are counted."""
        return self.iterations // max(self.epochs, 1) if self.epochs is not None else 1

    def __str__(self) -> str:
        if self.epochs is None:
            return f"{self.iterations} iterations"
        return f"{self.epochs} epochs of {self.per_epoch} iterations"


def read_time(value: Any, key: str) -> Optional[Time]:
    """What stands for ``start``, ``stop`` or ``warmup`` in a config; None for None.

    Raises:
        ValueError: neither an integer of at least 0 nor one with its unit.

    >>> read_time("500 iters", "start"), read_time(8, "stop")
    (Time(count=500, unit='iterations'), Time(count=8, unit=None))
    """
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST:
        return Time(value)
    match = _WRITTEN.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if match is not None and int(match.group(1)) <= MOST:
        return Time(int(match.group(1)), EPOCHS if match.group(2)[0] == "e" else ITERATIONS)
    large = isinstance(value, int) and abs(value) > MOST  # may have too many digits to be shown
    shown = "one that is too large" if large else f"{repr(value)[:200]} ({type(value).__name__})"
    raise ValueError(
        f"{key}: expected an integer, 0 to 10**9, which counts what the runner counts (epochs of "
        "an EpochBasedRunner, iterations of an IterBasedRunner), or one with its unit, such as "
        f"'8 epochs' or '500 iters', got {shown}"
    )


class Window(NamedTuple):
    """A schedule in iterations."""

    start: int
    stop: Optional[int]
    warmup: int

    def factor(self, iteration: int) -> float:
        """f(t).

        >>> [Window(2, 7, 4).factor(t) for t in range(8)]
        [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 0.0]
        """
        if iteration < self.start or (self.stop is not None and iteration >= self.stop):
            return 0.0
        return min(1.0, (iteration - self.start + 1) / max(self.warmup, 1))


class Schedule(NamedTuple):
    """``start``, ``stop`` and ``warmup`` of the entry at the config key ``key``."""

    key: str
    start: Optional[Time] = None
    stop: Optional[Time] = None
    warmup: Optional[Time] = None

    @classmethod
    def read(cls, options: Mapping[str, Any], key: str) -> Optional["Schedule"]:
        """Of the options of a loss; None where they say nothing of it.

        Raises:
            ValueError: see :func:`read_time`; or times of one unit that contradict each other.
        """
        times = {name: read_time(options.get(name), f"{key}.{name}") for name in TIMES}
        given = [time for time in times.values() if time is not None]
        if not given:
            return None
        schedule = cls(key, **times)
        if len({time.unit for time in given}) == 1:
            counts = (None if time is None else time.count for time in times.values())
            schedule._check(*counts, run=None)
        return schedule

    def window(self, run: Run) -> Window:
        """In iterations of ``run``.

        Raises:
            ValueError: an epoch where there are none, a ``stop`` that does not lie after
                ``start``, a ``warmup`` that does not end by ``stop`` or by the end of the run, or
                a ``start`` after that.
        """
        found = []
        for name, time in zip(TIMES, self[1:]):
            if time is not None and time.unit == EPOCHS and run.epochs is None:
                raise ValueError(
                    f"{self.key}.{name}={time}: the runner counts iterations ({run}) and knows no "
                    f"epochs. Give iterations: {name}=<integer>"
                )
            of_epochs = time is not None and (time.unit or run.unit) == EPOCHS
            found.append(None if time is None else time.count * (run.per_epoch if of_epochs else 1))
        start, stop, warmup = found
        self._check(start, stop, warmup, run)
        if start and start >= run.iterations:
            raise ValueError(
                f"{self.key}.start={self.start}: the run has {run}, so the term would never act."
                f"{_hint(self.start, run)} Lower it, or leave the entry out: {self.key}=None"
            )
        if warmup and (start or 0) + warmup > run.iterations:
            raise ValueError(
                f"{self.key}.warmup={self.warmup} from start={self.start or 0} on: the run has "
                f"{run}, so the term would never have its whole weight."
                f"{_hint(self.warmup, run)} Lower it"
            )
        return Window(start or 0, stop, warmup or 0)

    def _check(
        self,
        start: Optional[int],
        stop: Optional[int],
        warmup: Optional[int],
        run: Optional[Run],
    ) -> None:
        """Against each other; ``run`` None: as its length is not known, all are of one unit."""
        if stop is None:
            return
        if stop <= (start or 0):
            raise ValueError(
                f"{self.key}.stop={self.stop}: expected a time after start={self.start or 0}; as "
                f"it is the term would never act.{_hint(self.stop, run) or _hint(self.start, run)} "
                f"Correct one of them, or leave the entry out: {self.key}=None"
            )
        if warmup is not None and warmup > stop - (start or 0):
            raise ValueError(
                f"{self.key}.warmup={self.warmup}: expected at most the time from "
                f"start={self.start or 0} to stop={self.stop}; as it is the term would never have "
                f"its whole weight.{_hint(self.warmup, run) or _hint(self.stop, run)} Lower warmup"
            )


def _hint(time: Optional[Time], run: Optional[Run]) -> str:
    """Those who are used to iterations may not know that they have written epochs."""
    if time is None or time.unit is not None or run is None or run.epochs is None:
        return ""
    return f" A plain integer counts epochs here; write '{time.count} iters' for iterations."


def check_not_own(taken: Any, options: Mapping[str, Any], key: str) -> None:
    """A class whose own arguments have these names cannot be scheduled by them.

    Raises:
        ValueError: one of them is in ``options``, and it could mean either.
    """
    own = inspect.signature(taken).parameters
    for name in TIMES:
        if name in options and name in own:
            raise ValueError(
                f"{key}.{name}: every entry has this key, which says when the term acts, and "
                f"{taken.__name__} has an argument of the same name. Register a subclass whose "
                "argument has another name, and give that one"
            )


class Schedules:
    """When the terms of a distiller act; a term that is not in it always does.

    Attributes:
        always: every term has its whole weight, whatever the iteration: for measuring.
    """

    def __init__(self) -> None:
        self.always = False
        self._read: Dict[str, Schedule] = {}
        self._windows: Dict[str, Window] = {}
        self._run: Optional[Run] = None
        self._iteration: Optional[int] = None

    def __len__(self) -> int:
        return len(self._read)

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def add(self, name: str, schedule: Optional[Schedule]) -> None:
        """Of the loss ``name``."""
        if schedule is not None:
            self._read[name] = schedule

    def prepare(self, run: Run) -> List[str]:
        """Before the first iteration; returns what is worth a warning.

        Raises:
            ValueError: see :meth:`Schedule.window`.
        """
        self._windows = {name: each.window(run) for name, each in self._read.items()}
        self._run = run
        notes = []
        for name, window in self._windows.items():
            each = self._read[name]
            if each.stop is not None and window.stop is not None and window.stop > run.iterations:
                notes.append(
                    f"{each.key}.stop={each.stop}: the run has {run}, so the term never stops."
                    f"{_hint(each.stop, run)}"
                )
        return notes

    def tell(self, iteration: int) -> None:
        """Which iteration comes now, counted from 0 over the whole run."""
        self._iteration = iteration

    def factor(self, name: str) -> float:
        """By what a term is multiplied in this iteration, 0 to 1.

        Raises:
            RuntimeError: nobody has said which iteration it is.
        """
        if self.always or name not in self._read:
            return 1.0
        return self._windows[name].factor(self._now(name))

    def comes_later(self, name: str) -> bool:
        """Whether the term has not started yet."""
        if self.always or name not in self._read:
            return False
        return self._now(name) < self._windows[name].start

    def _now(self, name: str) -> int:
        if self._iteration is None or name not in self._windows:
            raise RuntimeError(
                f"{self._read[name].key} has start, stop or warmup, but nobody has said which "
                "iteration it is. tools/train.py does; with another program add the hook: "
                "custom_hooks=[dict(type='DistillScheduleHook')]"
            )
        return self._iteration

    def idle(self, names: List[str]) -> Optional[int]:
        """The first iteration of the run in which none of ``names`` acts; None: there is none."""
        if self._run is None or any(name not in self._windows for name in names):
            return None
        windows = [self._windows[name] for name in names]
        ends = [0, *(w.stop for w in windows if w.stop is not None)]
        for t in sorted(end for end in ends if end < self._run.iterations):
            if all(window.factor(t) == 0 for window in windows):
                return t
        return None

    def changes(self, iteration: int) -> List[str]:
        """A line for each term that starts or stops with this iteration, for the log."""
        lines = []
        for name, window in self._windows.items():
            now = window.factor(iteration) > 0
            if iteration and now != (window.factor(iteration - 1) > 0):
                lines.append(f"{name} acts {'' if now else 'no longer '}from this iteration on")
        return lines

    def told(self, name: str) -> str:
        """When a term acts, in words."""
        start, stop, warmup = self._windows[name]
        run = self._run
        assert run is not None
        last = run.iterations if stop is None else min(stop, run.iterations)
        text = f"acts in iterations {start + 1} to {last} of {run.iterations}"
        return text + (f", its weight rising over the first {warmup}" if warmup > 1 else "")
