"""Scores as a reader of papers knows them."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Optional


def score(value: Optional[float]) -> str:
    """Of a share of 1, three decimals without the zero before them; of 100, two.

    >>> score(0.69773), score(0.7555), score(74.4), score(None), score(-1.0)
    ('.698', '.756', '74.40', '-', '-1.000')
    """
    if value is None:
        return "-"
    digits = "0.01" if abs(value) > 1 else "0.001"
    text = str(Decimal(repr(value)).quantize(Decimal(digits), ROUND_HALF_UP))  # .7555 is .756
    return text[1:] if text.startswith("0.") else text


def signed(value: Optional[float]) -> str:
    """A difference.

    >>> signed(0.17), signed(-0.02), signed(None)
    ('+.170', '-.020', '-')
    """
    if value is None:
        return "-"
    return ("+" if value >= 0 else "-") + score(abs(value))


def exact(value: Optional[float]) -> str:
    """As logged: mmcv writes up to six digits.

    >>> exact(0.69773), exact(None)
    ('0.69773', '')
    """
    return "" if value is None else f"{value:.6g}"
