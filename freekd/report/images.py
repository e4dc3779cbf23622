"""Pictures of a report: cut into their cells, made small, and written into the page itself."""

import base64
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from freekd.visualization.canvas import CELLS

BUDGET = 3_500_000  # bytes of all pictures of a page, as base64
WIDEST = 1400
MOST_IMAGES = 4
_NAME = re.compile(r"(?P<kind>.+?)(?:_(?P<number>\d+))?\.png", re.IGNORECASE)

# kind of picture -> its title, and what it shows
KINDS = {
    "detections": (
        "Detections",
        "Green boxes are right (class, and IoU of at least 0.5), red ones are wrong, and dashed "
        "yellow ones mark objects that were missed.",
    ),
    "features_abs": (
        "Feature maps: mean size of the channels",
        "Spatial softmax of the mean of |feature| over the channels of the first neck level; each "
        "map is coloured over its own range, bright is high.",
    ),
    "features": (
        "Feature maps: mean of the channels",
        "Spatial softmax of the mean over the channels of the first neck level; each map is "
        "coloured over its own range, bright is high.",
    ),
    "mask_sums": (
        "Masks of the prompts: all levels",
        "The sum of the masks over the prompts, for each level and band.",
    ),
    "masks": (
        "Masks of the prompts: first level",
        "One row for each band, one column for each prompt, and the sum over the prompts.",
    ),
}


@dataclass
class Shown:
    """Pictures of one kind.

    Attributes:
        title, caption: what they show.
        images: for each image, name of a cell -> data URI; without cells the name is empty.
        left, right: the cells that a slider compares first; None for pictures shown whole.
        broad: much wider than high, so that a phone has to scroll it to show what is in it.
    """

    title: str
    caption: str
    images: List[Dict[str, str]]
    left: Optional[str] = None
    right: Optional[str] = None
    broad: bool = False

    @property
    def names(self) -> List[str]:
        """The cells that every image has."""
        return [name for name in self.images[0] if all(name in image for image in self.images)]


class Album:
    """Reads pictures until the page is full.

    Args:
        notes: takes what was left out.
    """

    def __init__(self, notes: List[str]) -> None:
        self.notes = notes
        self.bytes = 0
        self.broad = False  # the last picture that was not cut

    def sets(self, files: Sequence[Path], several: bool) -> List[Shown]:
        """Pictures of one folder and kind together, in the order of :data:`KINDS`."""
        groups: Dict[Tuple[Path, str], List[Tuple[int, Path]]] = {}
        for file in files:
            match = _NAME.fullmatch(file.name)
            if match:
                kind, count = match.group("kind"), int(match.group("number") or 0)
                groups.setdefault((file.parent, kind), []).append((count, file))
        order = list(KINDS)
        found = []
        for folder, kind in sorted(
            groups, key=lambda key: (order.index(key[1]) if key[1] in order else 9, key)
        ):
            title, caption = KINDS.get(kind, (kind.replace("_", " "), ""))
            if several:
                title = f"{title} ({folder.parent.name})"
            images = []
            for _, file in sorted(groups[folder, kind])[:MOST_IMAGES]:
                images += self._images(file)
            if images:
                shown = _shown(title, caption, images[:MOST_IMAGES])
                shown.broad = shown.left is None and self.broad
                found.append(shown)
        return found

    def whole(self, file: Path) -> Optional[str]:
        """The data URI of a picture that an analysis drew, or None with a note."""
        images = self._images(file, cut=False)
        return images[0][""] if images else None

    def _images(self, file: Path, cut: bool = True) -> List[Dict[str, str]]:
        from PIL import Image

        try:
            with Image.open(file) as opened:
                opened.load()
                picture = opened.convert("RGB")
                cells = _cells(opened.info.get(CELLS), picture.size) if cut else []
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            self.notes.append(f"{file}: left out, since it cannot be read as a picture ({error}).")
            return []
        if not cells:
            self.broad = picture.width > 1.5 * picture.height
        rows: Dict[int, Dict[str, str]] = {}
        for name, row, box in cells or [("", 0, (0, 0, *picture.size))]:
            if self.bytes > BUDGET:
                self.notes.append(
                    f"{file}: not all of it is shown, since the page has more than "
                    f"{BUDGET / 1e6:.1f} MB of pictures already. Look at the file."
                )
                break
            uri = data_uri(picture.crop(box))
            self.bytes += len(uri)
            rows.setdefault(row, {})[name] = uri
        return [rows[row] for row in sorted(rows)]


def data_uri(picture: Any, quality: int = 80) -> str:
    """A picture as WebP, not wider than :data:`WIDEST` pixels."""
    if picture.width > WIDEST:
        picture = picture.resize((WIDEST, max(1, round(picture.height * WIDEST / picture.width))))
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _cells(text: Any, size: Tuple[int, int]) -> List[Tuple[str, int, Tuple[int, int, int, int]]]:
    """What :func:`freekd.visualization.canvas.save_figure` noted in the file; else nothing."""
    try:
        found = []
        for cell in json.loads(text):
            x0, y0, x1, y1 = (int(v) for v in cell["box"])
            if not (0 <= x0 < x1 <= size[0] and 0 <= y0 < y1 <= size[1]):
                return []
            found.append((str(cell["name"]), int(cell["row"]), (x0, y0, x1, y1)))
        return found
    except (TypeError, ValueError, KeyError):
        return []


def _shown(title: str, caption: str, images: List[Dict[str, str]]) -> Shown:
    shown = Shown(title, caption, images)
    models = [name for name in shown.names if name not in ("", "image", "ground truth")]
    if len(models) < 2:
        return shown
    alone = next((name for name in models if "alone" in name), models[0])
    named = ("FreeKD", models[-1])
    shown.left = alone
    shown.right = next((name for name in named if name in models and name != alone), models[0])
    return shown
