"""The ways to train the student of a bundled task: alone, and one or more for each method."""

from typing import Any, Dict, List, Optional, Sequence

from freekd import compat
from freekd.losses import Bundled, cards
from freekd.study.bundled import TASKS
from freekd.study.plan import ROOT

BASELINE = "baseline"


def rows(task: str = "det") -> Dict[str, Bundled]:
    """Name -> config and labels: the student alone, then what the methods' cards say.

    Args:
        task: of :data:`freekd.study.bundled.TASKS`.
    """
    found = {BASELINE: Bundled(TASKS[task].baseline, "student alone", "student alone")}
    for card in cards().values():
        found.update(card.bundled.get(task, {}))
    return found


def first_stage(name: str) -> str:
    """The row of the first of two trainings of the row ``name``."""
    return f"{name}_first"


def prompted(config: str) -> List[str]:
    """The entries of ``pair.losses`` in a config that read a prompt file."""
    with compat.quiet_imports():
        from mmcv import Config

    losses = (Config.fromfile(str(ROOT / config)).get("pair") or {}).get("losses") or {}
    return [name for name, options in losses.items() if (options or {}).get("prompts")]


def taught(config: str) -> bool:
    """Whether a config's pair has a teacher; a method may do without."""
    with compat.quiet_imports():
        from mmcv import Config

    return (Config.fromfile(str(ROOT / config)).get("pair") or {}).get("teacher") is not None


def study_rows(
    methods: Optional[Sequence[str]] = None,
    teacher: Optional[Dict[str, Any]] = None,
    prompts: Optional[Dict[str, Any]] = None,
    student: Optional[Dict[str, Any]] = None,
    task: str = "det",
    alone: Optional[Dict[str, Any]] = None,
    judged: Optional[Dict[str, Any]] = None,
) -> Dict[str, Dict[str, Any]]:
    """Rows of a study: teacher and prompts once, then students that are given these.

    Args:
        methods: of :func:`rows`; None: all.
        teacher, prompts, student: options of each, such as its schedule.
        task: of :data:`freekd.study.bundled.TASKS`.
        alone: options of the student alone, in place of ``student``; None: the same.
        judged: options of all but the teacher, of tasks with a ``judge``.
    """
    judged = judged or {}
    from_teacher, bundled = "{teacher}/latest.pth", TASKS[task]
    found: Dict[str, Dict[str, Any]] = {
        "teacher": dict(config=bundled.teacher, seed=0, label="teacher", options=teacher or {})
    }
    if bundled.prompt is not None:
        found["prompts"] = dict(
            config=bundled.prompt,
            seed=0,
            label="teacher, prompted (prompts only)",
            options={"prompt.teacher_checkpoint": from_teacher, **(prompts or {}), **judged},
        )
    for name, row in rows(task).items():
        if methods is not None and name not in methods:
            continue
        own = alone if name == BASELINE and alone is not None else student
        options = {**(own or {}), **judged, **(bundled.alone if name == BASELINE else {})}
        if taught(row.config):
            options["pair.teacher_checkpoint"] = from_teacher
        for label in prompted(row.config):
            options[f"pair.losses.{label}.prompts"] = "{prompts}/prompts.pth"
        if row.then is not None:
            first = first_stage(name)
            found[first] = dict(
                config=row.config, label=f"{row.label}, first stage", options=options
            )
            options = {**(student or {}), **judged, "model.checkpoint": f"{{{first}}}/latest.pth"}
        found[name] = dict(config=row.then or row.config, label=row.label, options=options)
    return found
