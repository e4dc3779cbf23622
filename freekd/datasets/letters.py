"""Letters to be confused with digits: printed ones, in the form of scikit-learn's digits.

They are drawn with the fonts inside the matplotlib package, then made as small as a digit of
``load_digits``: 8x8 cells with ink counts from 0 to 16.
"""

from pathlib import Path
from typing import Any, Tuple

import numpy as np
from numpy.typing import NDArray

LETTERS = "AEFHKMNRTVWX"
"""Letters that no digit looks like, in label order."""

FONTS: Tuple[str, ...] = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono", "DejaVuSans-Oblique",
    "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSansMono-Bold", "STIXGeneral",
    "STIXGeneralBol", "STIXGeneralItalic", "cmr10",
)  # fmt: skip
"""Files of matplotlib's font folder; each stands for a hand."""

_DRAWN = 64  # pixels to an em, before the letter is made small
_NEEDS = "drawing letters needs matplotlib and Pillow"


def load_letters() -> Tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Every letter in every font.

    Returns:
        Ink counts (144, 8, 8) float64, 0 to 16; positions (144,) in ``LETTERS``; positions (144,)
        in ``FONTS``.

    Raises:
        ModuleNotFoundError: matplotlib or Pillow is not installed.
        FileNotFoundError: this matplotlib has no such font.
    """
    try:
        import matplotlib
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{_NEEDS} ({error}); install them with: pip install 'freekd[data]'"
        ) from error
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    cells, letters, fonts = [], [], []
    for number, letter in enumerate(LETTERS):
        for hand, name in enumerate(FONTS):
            path = folder / f"{name}.ttf"
            if not path.is_file():
                raise FileNotFoundError(f"expected matplotlib's font {path}; install matplotlib 3")
            font = ImageFont.truetype(str(path), _DRAWN)
            sheet = Image.new("L", (3 * _DRAWN, 3 * _DRAWN))
            ImageDraw.Draw(sheet).text((_DRAWN, _DRAWN), letter, fill=255, font=font)
            ink = sheet.crop(sheet.getbbox())
            side = max(ink.size)
            square = Image.new("L", (side, side))
            square.paste(ink, ((side - ink.width) // 2, (side - ink.height) // 2))
            small = np.asarray(square.resize((8, 8), Image.Resampling.BOX), dtype=np.float64)
            cells.append(np.rint(16.0 * small / small.max()))
            letters.append(number)
            fonts.append(hand)
    return np.stack(cells), np.array(letters), np.array(fonts)
