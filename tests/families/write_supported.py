"""Writes docs/supported.md from ``family_list.py``: python tests/families/write_supported.py."""

import textwrap
from pathlib import Path
from typing import List, Sequence, Tuple

from family_list import FAMILIES, GROUPS, REFUSED, Family, Tap

PAGE = Path(__file__).resolve().parents[2] / "docs" / "supported.md"
WIDTH = 119

INTRO = """
These {count} stock configs of mmdet 2.x and mmsegmentation 0.x are trained in the tests, each for
one step, as student and as teacher. A family that is not here may work as well: every detector and
segmentor of the two packages can be named in a pair, and `tools/doctor.py` says before training
what does not fit.

```python
pair = dict(
    student="mmdet::vfnet/vfnet_r50_fpn_1x_coco.py",
    teacher="mmdet::vfnet/vfnet_r101_fpn_1x_coco.py",
    module="neck",  # the module that is tapped, in student and teacher
    losses=dict(freekd=dict(loss_weight=1.0)),
)
```

[new_pair.md](new_pair.md) explains the keys. The stock configs are read from the installed
packages; nothing has to be copied.
"""

READING = """
**What can be tapped** names modules, as `pair.module` takes them, and says what they give:

- `neck`: 5 x 256, strides 8 to 128: five maps of 256 channels each. Channels and number of the
  maps need not be written in the config.
- `backbone`: 64, 128, 256, 512; strides 4 to 32: four maps of different channels.
- `bbox_head.atss_reg`: 4, 5 calls: a layer of the head that runs once for each level and gives 4
  channels each time. Such layers are meant for the entry `regression`.
- `roi_head.bbox_head.fc_reg`: rows of 8: a layer of a RoI head gives a row of numbers for each
  box. The teacher's head is given the student's boxes. Such layers are for the entry `regression`
  only.

Some numbers depend on the classes: a class map has a channel for each class, `fc_reg` four numbers
for each class. The tables show the numbers of the tests, which have two classes for detectors and
three for segmentors. A backbone of another depth gives other channels.

**Notes** say what the training data need beside boxes (detectors) or label maps (segmentors), and
which hooks of the stock config come along into the pair.
"""

REFUSALS = """
Each of these ends with an error. The tests check that it does, and that the error has these words.
"""

CLASSIFIERS = """
Every classifier of mmcls 0.25 can be named in a pair. Those of the table in
[classification.md](classification.md#taps-by-family) have default taps; for others, `module` names
them. Three families of published pairs are not in mmcls 0.25:
"""

LACKING = [
    ("MobileNetV1", "MobileNetV2: `mmcls::mobilenet_v2/mobilenet-v2_8xb32_in1k.py`"),
    (
        "DeiT-III",
        "DeiT of the same size: `mmcls::deit/deit-base_pt-16xb64_in1k.py`; for DeiT-III-L, Swin-L",
    ),
    (
        "BEiT, EVA",
        "Swin-L, pretrained on ImageNet-21k, or ViT-L: "
        "`mmcls::vision_transformer/vit-large-p16_pt-64xb64_in1k-224.py`",
    ),
]

NOT_TRIED = """
- **BiFPN**: mmdet 2.28.2 has no such neck, and no EfficientDet. Its EfficientNet has an FPN, which
  is in a table above. A BiFPN of your own, registered in mmdet, is a neck like any other.
- **Panoptic data**: Mask2Former and MaskFormer are tried with masks of objects.
  `CocoPanopticDataset` needs the package `panopticapi`, which the environment does not have.
"""

HOW = """
```bash
bash tools/run_tests.sh tests/families             # the fast families
bash tools/run_tests.sh tests/families -m slow     # all others
python tests/families/write_supported.py           # writes this page
```

The list is `tests/families/family_list.py`. For each family the tests write a config as above, with
all modules of its row tapped at once, and train one step on two small images on the CPU, with
random weights. To be fast, some families have fewer proposals, queries or decoder layers than the
stock config; the list says which. The tests check that:

- the maps have the sizes and channels of this page, in the pair, and also in the stock model that
  mmdet or mmsegmentation builds alone, where plain hooks look at it; with the same weights, the
  values are the same too;
- the term of each tap is there under its name, finite and greater than zero; it is zero when the
  teacher has the student's weights;
- all parameters of the student get finite gradients (but for those that the stock model itself does
  not use), those of the teacher none;
- the checkpoint has no teacher.

The tests do not show that distillation improves a family. Only training does.
"""


def tap_text(tap: Tap) -> str:
    """What a module gives."""
    same = len(set(tap.channels)) == 1
    if tap.gives == "vectors":
        given = f"rows of {tap.channels[0]}"
    elif tap.gives == "calls":
        given = f"{tap.channels[0]}, {_plural(len(tap.channels), 'call')}"
    elif len(tap.channels) == 1:
        given = f"{tap.channels[0]}, stride {tap.strides[0]}"
    else:
        each = ", ".join(map(str, tap.channels))
        maps = f"{len(tap.channels)} x {tap.channels[0]}" if same else each
        given = f"{maps}{', ' if same else '; '}strides {_listed(tap.strides)}"
    return f"`{tap.module}`: {given}"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _listed(numbers: Sequence[int]) -> str:
    """``8 to 128`` for powers of two in order, else all."""
    doubled = all(b == 2 * a for a, b in zip(numbers, numbers[1:]))
    if doubled and len(numbers) > 2:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def notes(family: Family) -> str:
    """What its data must have, what comes along, what is special."""
    found: List[str] = []
    if "masks" in family.needs:
        found.append("needs masks" + (" and semantic maps" if "stuff" in family.needs else ""))
    if "mixed" in family.needs:
        found.append("needs `MultiImageMixDataset`")
    if family.note:
        found.append(family.note)
    if family.hooks:
        found.append("hooks: " + ", ".join(f"`{hook}`" for hook in family.hooks))
    return "; ".join(found)


def table(families: Tuple[Family, ...]) -> str:
    """The rows of one group."""
    lines = ["| family | stock config | what can be tapped | notes |", "|---|---|---|---|"]
    for family in families:
        taps = "<br>".join(tap_text(tap) for tap in family.taps)
        lines.append(f"| {family.name} | `{family.config}` | {taps} | {notes(family)} |")
    return "\n".join(lines)


def refusals() -> str:
    """What does not work, with the words of the errors."""
    lines = ["| what | what the error says | why, and what to do |", "|---|---|---|"]
    for refused in REFUSED:
        words = " ... ".join(refused.words)
        lines.append(f"| {refused.name} | {words} | {refused.why} |")
    return "\n".join(lines)


def lacking() -> str:
    """Families that mmcls has not, and the nearest that it has."""
    rows = [f"| {family} | {nearest} |" for family, nearest in LACKING]
    return "\n".join(["| absent | the nearest |", "|---|---|", *rows])


def _wrapped(text: str) -> str:
    """Paragraphs and lists in lines of at most ``WIDTH``; code blocks as they are."""
    blocks: List[str] = []
    for number, part in enumerate(text.strip().split("```")):
        if number % 2:
            blocks.append(f"```{part}```")
            continue
        for paragraph in part.strip().split("\n\n"):
            items = paragraph.replace("\n- ", "\n\n- ").split("\n\n")
            blocks.append("\n".join(_filled(item) for item in items))
    return "\n\n".join(block for block in blocks if block)


def _filled(item: str) -> str:
    return textwrap.fill(
        " ".join(item.split()), WIDTH, subsequent_indent="  " * item.startswith("- "),
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip


def page() -> str:
    """The whole page."""
    sections = [
        ("# What works", INTRO.format(count=len(FAMILIES))),
        ("## How to read the tables", READING),
        *((f"## {title}", table(group)) for title, group in GROUPS),
        ("## What does not work", f"{_wrapped(REFUSALS)}\n\n{refusals()}"),
        ("## Classifiers", f"{_wrapped(CLASSIFIERS)}\n\n{lacking()}"),
        ("## Not tried", NOT_TRIED),
        ("## How this page was made", HOW),
    ]
    texts = []
    for title, text in sections:
        texts.append(f"{title}\n\n{text if '|---' in text else _wrapped(text)}\n")
    return "\n".join(texts)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
