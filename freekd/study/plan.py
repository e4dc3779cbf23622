"""From a study to its runs: order, folders, commands, and what one machine of several does."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from freekd.config.errors import ConfigError
from freekd.study.definition import FOLDER_OF, Study

ROOT = Path(__file__).resolve().parents[2]


class Run(NamedTuple):
    """One training."""

    row: str
    seed: int
    once: bool  # one run for all seeds
    folder: Path
    config: str
    options: Mapping[str, Any]
    needs: Tuple[str, ...]  # names of runs
    student_only: bool

    @property
    def name(self) -> str:
        """How lines call it."""
        return self.row if self.once else f"{self.row}, seed {self.seed}"


class Launch(NamedTuple):
    """How a run is started.

    Args:
        launcher: ``none`` or ``slurm``.
        gpus: processes of one run; None: one, without a launcher.
        partition: of slurm.
        device: ``cpu``, ``cuda``, or None: the run's own choice.
    """

    launcher: str = "none"
    gpus: Optional[int] = None
    partition: Optional[str] = None
    device: Optional[str] = None


def make_runs(study: Study) -> Dict[str, Run]:
    """All runs by name, each after those it needs: rows trained once, then seed after seed."""
    asked: List[Tuple[str, Optional[int]]] = [
        (row.name, None) for row in study.rows.values() if row.seed is not None
    ]
    asked += [
        (row.name, seed) for seed in study.seeds for row in study.rows.values() if row.seed is None
    ]
    runs: Dict[str, Run] = {}

    def add(name: str, seed: Optional[int]) -> Run:
        row = study.rows[name]
        once = row.seed is not None
        needed = {need: add(need, seed) for need in row.needs}
        own = row.seed if row.seed is not None else seed
        assert own is not None, name
        folder = study.work_dir / (name if once else os.path.join(f"seed{own}", name))
        folders = {need: str(run.folder) for need, run in needed.items()}
        options = {key: _filled(value, folders) for key, value in row.options.items()}
        needs = tuple(run.name for run in needed.values())
        run = Run(name, own, once, folder, row.config, options, needs, row.student_only)
        return runs.setdefault(run.name, run)

    for name, seed in asked:
        add(name, seed)
    return runs


def _filled(value: Any, folders: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return FOLDER_OF.sub(lambda found: folders[found.group(1)], value)
    if isinstance(value, (list, tuple)):
        return type(value)(_filled(one, folders) for one in value)
    return value


# --------------------------------------------------------------------------- commands
def said(value: Any) -> str:
    """A value as ``--cfg-options`` reads it.

    >>> said([1, "a"]), said(None), said("x")
    ('[1,a]', 'None', 'x')
    """
    if isinstance(value, (list, tuple)):
        inner = ",".join(said(one) for one in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    return str(value)


def check_options(run: Run) -> None:
    """Whether a command line can say the options of a run.

    Raises:
        ConfigError: names the option.
    """
    from freekd import cli

    for key, value in run.options.items():
        text = f"{key}={said(value)}"
        try:
            found = (cli.cfg_options(cli.train(["x", "--cfg-options", text])) or {}).get(key)
        except Exception:
            found = ...
        if found != value or isinstance(found, bool) != isinstance(value, bool):
            raise ConfigError(
                f"rows.{run.row}: the option {key}={value!r} cannot be said on a command line"
                f"{'' if found is ... else f', which reads it as {found!r}'}. Write it in a config "
                "file that names the present one as its _base_."
            )


def train_command(run: Run, launch: Launch) -> Tuple[List[str], Dict[str, str]]:
    """The command that trains a run, and variables of its environment."""
    rest = ["--work-dir", str(run.folder), "--seed", str(run.seed), "--auto-resume"]
    rest += ["--student-only"] if run.student_only else []
    rest += _device(launch)
    rest += _options(run)
    if launch.launcher == "slurm":
        job = f"{run.row}-{run.seed}"
        head = ["bash", tool("slurm_train.sh"), str(launch.partition), job, run.config]
        count = str(1 if launch.gpus is None else launch.gpus)
        if launch.device == "cpu":
            return head + rest, {"GPUS": "0", "TASKS": count}
        return head + rest, {"GPUS": count}
    if launch.gpus is not None:
        return ["bash", tool("dist_train.sh"), run.config, str(launch.gpus), *rest], {}
    return [sys.executable, tool("train.py"), run.config, *rest], {}


def evaluate_command(run: Run, launch: Launch, scores: Path) -> List[str]:
    """The command that evaluates the last checkpoint of a run as training does, in one process."""
    command = [sys.executable, tool("test.py"), run.config, str(run.folder / "latest.pth")]
    return [*command, "--split", "val", "--json", str(scores), *_device(launch), *_options(run)]


def _device(launch: Launch) -> List[str]:
    return ["--device", launch.device] if launch.device else []


def _options(run: Run) -> List[str]:
    if not run.options:
        return []
    return ["--cfg-options", *(f"{key}={said(value)}" for key, value in run.options.items())]


def tool(name: str) -> str:
    """The path of a tool, short where the current folder is the clone's."""
    return f"tools/{name}" if Path.cwd() == ROOT else str(ROOT / "tools" / name)


def typed(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """What a person would type."""
    words = ["python" if word == sys.executable else word for word in command]
    variables = [f"{key}={shlex.quote(value)}" for key, value in environment.items()]
    return " ".join([*variables, *map(shlex.quote, words)])


# --------------------------------------------------------------------------- several machines
def shard(runs: Mapping[str, Run], number: int, count: int) -> List[str]:
    """The names of the runs that machine ``number`` of ``count`` (from 1) does, in order.

    Every run belongs to exactly one machine. A run that others need, as a teacher, goes where the
    first that it needs itself goes, so that a chain stays on one machine; all others go, in order,
    to the machine with the fewest.
    """
    needed = {need for run in runs.values() for need in run.needs}
    place: Dict[str, int] = {}
    load = [0] * count
    for first in (True, False):
        for name, run in runs.items():
            if (name in needed) != first:
                continue
            chain = first and run.needs
            chosen = place[run.needs[0]] if chain else min(range(count), key=lambda i: load[i])
            place[name] = chosen
            load[chosen] += 1
    return [name for name in runs if place[name] == number - 1]


def devices_of_job(
    job: int, jobs: int, gpus: int, available: int, visible: Optional[str] = None
) -> Optional[str]:
    """``CUDA_VISIBLE_DEVICES`` of one of several jobs side by side; None: leave it as it is.

    Args:
        job: its number, from 0.
        jobs: how many run side by side.
        gpus: how many each takes.
        available: how many there are.
        visible: the variable as it is; jobs share these.

    Raises:
        ConfigError: one job wants more than there are.

    >>> [devices_of_job(i, 3, 1, 2) for i in range(3)], devices_of_job(1, 2, 4, 8)
    (['0', '1', '0'], '4,5,6,7')
    >>> devices_of_job(1, 2, 1, 2, "2,3")
    '3'
    """
    if available == 0:
        return None
    if gpus > available:
        raise ConfigError(
            f"--gpus: expected at most the {available} GPUs of this machine, got {gpus}."
        )
    if jobs == 1 or available == 1:
        return None
    first = job * gpus % (available // gpus * gpus)
    names = [name.strip() for name in (visible or "").split(",") if name.strip()]
    names = names if len(names) >= available else [str(number) for number in range(available)]
    return ",".join(names[first : first + gpus])
