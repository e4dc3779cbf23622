"""Numbers, times and tables as a person reads them."""

import math
from typing import List, Optional, Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> List[str]:
    """Columns of equal width.

    >>> table(("a", "b"), [("long", "1"), ("x", "22")])
    ['a     b', 'long  1', 'x     22']
    """
    cells = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in cells]


def number(value: Optional[float]) -> str:
    """Three digits, without an exponent where it can be read without one.

    >>> number(0.12345), number(1234.5), number(None), number(0.0000012)
    ('0.123', '1234', '-', '1.2e-06')
    """
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """As a person would say it.

    >>> duration(40), duration(3000), duration(100000)
    ('40 s', '50 min', '27.8 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def amount(count: int) -> str:
    """Bytes, as a person would say it.

    >>> amount(3 * 2**20), amount(5 * 2**30)
    ('3 MiB', '5.0 GiB')
    """
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
