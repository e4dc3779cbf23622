"""The ways to train the student of the bundled task: alone, and one or more for each method."""

from typing import Any, Dict, List, Optional, Sequence

from freekd import compat
from freekd.losses import Bundled, cards
from freekd.study.plan import ROOT

BASELINE = "baseline"


def rows() -> Dict[str, Bundled]:
    """Name -> config and labels: the student alone, then what the methods' cards say."""
    alone = Bundled("configs/baseline/retinanet_r18_digits.py", "student alone", "student alone")
    found = {BASELINE: alone}
    for card in cards().values():
        found.update(card.bundled)
    return found


def prompted(config: str) -> List[str]:
    """The entries of ``pair.losses`` in a config that read a prompt file."""
    with compat.quiet_imports():
        from mmcv import Config

    losses = (Config.fromfile(str(ROOT / config)).get("pair") or {}).get("losses") or {}
    return [name for name, options in losses.items() if (options or {}).get("prompts")]


def study_rows(
    methods: Optional[Sequence[str]] = None,
    teacher: Optional[Dict[str, Any]] = None,
    prompts: Optional[Dict[str, Any]] = None,
    student: Optional[Dict[str, Any]] = None,
) -> Dict[str, Dict[str, Any]]:
    """Rows of a study: teacher and prompts once, then students that are given these.

    Args:
        methods: of :func:`rows`; None: all.
        teacher, prompts, student: options of each, such as its schedule.
    """
    from_teacher = "{teacher}/latest.pth"
    found: Dict[str, Dict[str, Any]] = {
        "teacher": dict(
            config="configs/teacher/retinanet_r34_digits.py",
            seed=0,
            label="teacher",
            options=teacher or {},
        ),
        "prompts": dict(
            config="configs/prompt/retinanet_r34_digits.py",
            seed=0,
            label="teacher, prompted (prompts only)",
            options={"prompt.teacher_checkpoint": from_teacher, **(prompts or {})},
        ),
    }
    for name, row in rows().items():
        if methods is not None and name not in methods:
            continue
        options = dict(student or {})
        if name != BASELINE:
            options["pair.teacher_checkpoint"] = from_teacher
        for label in prompted(row.config):
            options[f"pair.losses.{label}.prompts"] = "{prompts}/prompts.pth"
        found[name] = dict(config=row.config, label=row.label, options=options)
    return found
