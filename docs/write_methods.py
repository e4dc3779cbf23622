"""Writes docs/methods.md, and the table of methods in the README, from the methods' cards.

python docs/write_methods.py            # write
python docs/write_methods.py --check    # fail where a file is not as it would be written

The figures of the tables of the bundled tasks are in docs/measured/: digits.json, digits_seg.json
and digits_cls.json are the ``summary.json`` of a quickstart of that task, with the text above the
table in digits.md and so on, and how the weights were chosen in digits_weights.md and so on;
cost.json is what ``benchmarks/loss.py --methods --json`` wrote.
"""

import argparse
import inspect
import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from freekd import compat, tasks  # noqa: E402
from freekd.losses import Card, cards  # noqa: E402
from freekd.study.bundled import TASKS as BUNDLED  # noqa: E402
from freekd.study.bundled import BundledTask  # noqa: E402
from freekd.study.result import paired  # noqa: E402

with compat.quiet_imports():
    from mmcv import Config

TASKS = {task.name: task.noun for task in tasks.every()}
BEGIN, END = "<!-- methods: docs/write_methods.py -->", "<!-- end of methods -->"
HEAD = """# Methods
Each method is one entry of `pair.losses`, by its name. Entries combine; an entry that is `None` is
left out:

```python
pair = dict(
    losses=dict(
        freekd=dict(prompts="prompts.pth", loss_weight=1.0),
        mimic=dict(loss_weight=5.0),
    )
)
```

```bash
python tools/train.py CONFIG --cfg-options pair.losses.freekd.loss_weight=2 pair.losses.mimic=None
```

Every entry may also have:

* `module`, the tapped module: a path in both models, a dict with `student` and `teacher`, or a dict
  of named taps;
* `resize=True`: the student's maps are meant to be of another size than the teacher's;
* `start`, `stop`, `warmup`: when the term acts, in epochs or iterations, see
  [loss_weights.md](loss_weights.md#when-to-distil);
* `type`: then the key is a label of your own, and `type` is a method's name or a loss class that
  MMRazor or mmdet registers, as in `mine=dict(type="mmdet.SmoothL1Loss",
  module="bbox_head.retina_reg")`.

Which weight: [loss_weights.md](loss_weights.md). A method of your own:
[add_a_method.md](add_a_method.md).

This page is written by `python docs/write_methods.py` from the cards in `freekd/losses/`.
"""


def table(found: Dict[str, Card], links: str) -> List[str]:
    """Methods x tasks."""
    lines = [
        f"| method | entry | {' | '.join(TASKS.values())} | needs beside the taps |",
        f"|---|---|{'---|' * len(TASKS)}---|",
    ]
    for card in found.values():
        marks = " | ".join("yes" if task in card.tasks else "" for task in TASKS)
        needs = ", ".join([*card.needs, *([] if card.takes_teacher else ["no teacher"])])
        lines.append(
            f"| [{card.title}]({links}#{anchor(card)}) | `{card.name}` | {marks} | {needs} |"
        )
    return lines


def measured(found: Dict[str, Card]) -> List[str]:
    """What each method did on the bundled tasks: docs/measured/."""
    folder = ROOT / "docs" / "measured"
    lines = ["## What each did here"]
    for task in BUNDLED.values():
        name = Path(task.data).name
        files = [folder / f"{name}{end}" for end in (".md", ".json", "_weights.md")]
        if all(path.is_file() for path in files):
            text, summary, weights = (path.read_text(encoding="utf-8") for path in files)
            title = TASKS.get(task.name, "Segment Anything")
            lines += [] if task.name == "det" else [f"### {title.capitalize()}"]
            lines += [*bundled(found, task, text, summary), *weights.splitlines(), ""]
    return lines


def bundled(found: Dict[str, Card], task: BundledTask, text: str, summary: str) -> List[str]:
    """The methods side by side: what each gained, and, where it was measured, what it costs.

    Args:
        found: all cards.
        task: whose rows.
        text: what stands above the table.
        summary: a ``summary.json``.
    """
    students, name = json.loads(summary)["students"], task.score
    cost = ROOT / "docs" / "measured" / "cost.json"
    prices: Dict[str, Any] = {}
    if task.name == "det" and cost.is_file():
        prices = json.loads(cost.read_text(encoding="utf-8"))["devices"][0]["methods"]
    alone, more = students["baseline"], " time | memory |" if prices else ""
    lines = [
        *text.splitlines(),
        "",
        f"| method | source | entry | tap | {task.heading.split()[-1] if prices else task.heading} "
        f"| by seed | gain |{more}",
        f"|---|---|---|---|---|---|---|{'---|---|' if prices else ''}",
        f"| student alone | | | | {_score(alone, task)} | {_seeds(alone, task)} | |"
        + (" | |" if prices else ""),
    ]
    for card in found.values():
        for row_name, row in card.bundled.get(task.name, {}).items():
            if row_name not in students:
                continue
            entry, price = students[row_name], prices.get(card.name, {})
            said, tap = _entry(row.config, card, task.name)
            gain = paired(entry[f"{name}_by_seed"], alone[f"{name}_by_seed"])
            time, copies = price.get("over_squared_difference"), price.get("copies")
            paid = " - | - |" if time is None else f" {time:.1f} | {copies:.1f} |"
            lines.append(
                f"| [{row.label}](#{anchor(card)}) | {_source(card)} | `{said}` | {tap} | "
                f"{_score(entry, task)} | {_seeds(entry, task)} | {_gain(gain, task)} |"
                + (paid if prices else "")
            )
    return [*lines, ""]


def _score(entry: Dict[str, Any], task: BundledTask) -> str:
    spread = entry[f"{task.score}_spread"]
    text = f"{entry[task.score]:.{task.decimals}f}"
    return text if spread is None else f"{text} +- {spread:.{task.decimals}f}"


def _seeds(entry: Dict[str, Any], task: BundledTask) -> str:
    values = entry[f"{task.score}_by_seed"].values()
    return " ".join(f"{value:.{task.decimals}f}".lstrip("0") for value in values)


def _gain(gain: Any, task: BundledTask) -> str:
    places = task.decimals
    if gain is None:
        return "-"
    if gain.low is None:
        return f"{gain.mean:+.{places}f}"
    return f"{gain.mean:+.{places}f}, {gain.low:+.{places}f} to {gain.high:+.{places}f}"


def _source(card: Card) -> str:
    """The paper's venue, as a link."""
    parts = card.paper.split(", ")
    if parts[-1].startswith("http"):
        return f"[{parts[-2]}]({parts[-1]})"
    return parts[-1]


def _entry(config: str, card: Card, task: str) -> Tuple[str, str]:
    """The losses of a config with what it inherits, without paths of files; the student's taps."""
    pair = Config.fromfile(str(ROOT / config)).pair
    said, taps = [], []
    for label, options in pair.losses.items():
        chosen = {k: v for k, v in (options or {}).items() if k not in ("prompts", "module")}
        said.append(f"{label}=dict({', '.join(f'{k}={v!r}' for k, v in chosen.items())})")
        own = options.get("module") or pair.get("module") or cards()[label].taps.get(task)
        taps += _places(own)
    inherit = f"; inherit={list(pair.inherit)}" if pair.get("inherit") else ""
    return ", ".join(said) + inherit, ", ".join(dict.fromkeys(taps))


def _places(tap: Any) -> List[str]:
    """The modules of the student that a tap names."""
    if isinstance(tap, str):
        return [f"`{tap}`"]
    return [place for one in dict(tap).get("student", tap).values() for place in _places(one)]


def anchor(card: Card) -> str:
    """Where GitHub puts a heading."""
    kept = [c for c in card.title.lower() if c.isalnum() or c in " -_"]
    return "".join(kept).replace(" ", "-")


def section(card: Card) -> List[str]:
    """All that a card says."""
    lines = [f"## {card.title}", card.summary]
    if card.paper:
        lines.append(f"Paper: {card.paper}")
    lines.append("")
    taps = ", ".join(f"{_taps(tap)} ({TASKS[task]})" for task, tap in card.taps.items())
    if _has_words(card.taps.get("cls", "backbone")):
        taps += ", [by the model's family](classification.md#taps-by-family)"
    lines.append(
        f"* Entry: `{card.name}=dict(...)`; class `{card.type}`; scaled by `{card.weight}`."
    )
    if not card.takes_teacher:
        lines.append("* Without a teacher: `pair.teacher=None`, or beside methods that have one.")
    lines.append(f"* Tap unless `module` says otherwise: {taps or 'none, `module` must be given'}.")
    options = _options(card)
    if options:
        lines.append(f"* Options: {options}.")
    for task, given in card.of_task.items():
        shown = ", ".join(f"`{name}={value!r}`" for name, value in given.items())
        lines.append(f"  In {TASKS[task]}: {shown}.")
    configs = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "configs" / card.name).glob("*.py"))
    if configs:
        lines.append("* Configs:")
        lines += [f"  * `{path}`" for path in configs]
    if card.published:
        lines += ["", "Published, not measured here:", ""]
        lines += [
            "| teacher -> student | data | alone | distilled | source |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {r.pair} | {r.data} | {r.alone:g} | {r.distilled:g} | {r.source} |"
            for r in card.published
        ]
    return [*lines, ""]


def _taps(tap: Any) -> str:
    """A card's taps in words: a path, or names and paths, alike in both models or for each."""
    if isinstance(tap, str):
        return f"`{tap}`"
    if set(tap) == {"student", "teacher"}:
        return f"of the student {_taps(tap['student'])}; of the teacher {_taps(tap['teacher'])}"
    if len(set(tap.values())) == 1:
        return f"all at `{next(iter(tap.values()))}`"
    return ", ".join(
        f"`{name}`" if name == path else f"`{name}` at `{path}`" for name, path in tap.items()
    )


def _has_words(tap: Any) -> bool:
    """Whether a path differs by the model's family, and a word stands for it."""
    paths = [tap] if isinstance(tap, str) else list(tap.values())
    if not all(isinstance(path, str) for path in paths):
        return any(map(_has_words, paths))
    return any("." not in path and path not in ("backbone", "neck") for path in paths)


def _options(card: Card) -> str:
    if card.module is None:
        return f"those of `{card.type}`"
    told = ("student_channels", "teacher_channels", "num_levels")  # by the models
    parameters = inspect.signature(card.module).parameters.values()
    shown = []
    for one in parameters:
        if one.name not in told and one.kind is one.POSITIONAL_OR_KEYWORD:
            value = card.defaults.get(one.name, one.default)
            required = value is inspect.Parameter.empty
            shown.append(f"`{one.name}`" if required else f"`{one.name}={value!r}`")
    return ", ".join(shown)


def pages() -> Dict[Path, str]:
    """What each file should hold."""
    found = cards()
    lines = [HEAD, *table(found, ""), "", *measured(found)]
    for card in found.values():
        lines += section(card)
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    out = {ROOT / "docs" / "methods.md": "\n".join(lines).rstrip() + "\n"}
    if BEGIN in text and END in text:
        before, rest = text.split(BEGIN)
        inner = "\n".join([BEGIN, *table(found, "docs/methods.md"), END])
        out[readme] = before + inner + rest.split(END)[1]
    return out


def main() -> int:
    """Write, or compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    stale = 0
    for path, text in pages().items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if check:
            print(f"{path.relative_to(ROOT)} is stale; write it: python docs/write_methods.py")
        else:
            path.write_text(text, encoding="utf-8")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
