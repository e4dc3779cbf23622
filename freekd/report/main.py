"""Entry of ``tools/report.py``: where the page goes, and what it may replace."""

import html
import re
import sys
from pathlib import Path
from typing import List, Optional, Sequence

from freekd import cli
from freekd.fileio import atomic_write_text
from freekd.report.material import Material, ReportError, gather
from freekd.report.page import MARK, mark, render

_MARK = re.compile(rf'<meta name="{MARK}" content="([^"]*)">')


def write_report(
    folders: Sequence[Path], out: Optional[Path] = None, force: bool = False
) -> Material:
    """Write the page; returns what is in it.

    Args:
        folders: work folders, each of one run or above several.
        out: default ``report.html``, in the folder if it is one, else in the current one.
        force: replace a file that this tool did not make from the same folders.

    Raises:
        ReportError: there is nothing to report, or a file is in the way.
    """
    out = out or default_out(folders)
    material = gather(folders)
    _check_out(out, material, force)
    text = render(material, out)
    try:
        atomic_write_text(out, text)
    except OSError as error:
        raise ReportError(
            f"--out: expected a place to write to, got {out} ({error.strerror}). Name a file in a "
            "folder of your own."
        ) from error
    return material


def default_out(folders: Sequence[Path]) -> Path:
    """``report.html`` in the only folder, else in the current one."""
    return folders[0] / "report.html" if len(folders) == 1 else Path("report.html")


def _check_out(out: Path, material: Material, force: bool) -> None:
    if out.is_dir():
        raise ReportError(
            f"--out: expected a file, got the folder {out}. Name a file in it, such as "
            f"{out / 'report.html'}."
        )
    if force or not out.exists():
        return
    with open(out, encoding="utf-8", errors="replace") as handle:
        found = _MARK.search(handle.read(20_000))
    if found is None:
        what = "which this tool did not write"
    elif html.unescape(found.group(1)) != mark(material, out):
        what = f"which is a report of other folders ({html.unescape(found.group(1))})"
    else:
        return
    raise ReportError(
        f"--out: there is already a file {out}, {what}. Name another file by --out, or add --force "
        "to replace it."
    )


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/report.py``; returns the exit code."""
    args = cli.report(argv)
    folders = [Path(folder) for folder in args.work_dirs]
    out = Path(args.out) if args.out else default_out(folders)
    try:
        material = write_report(folders, out, args.force)
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for note in dict.fromkeys(material.notes):
        print(f"note: {note}")
    runs, size = len(material.items), out.stat().st_size / 1e6
    print(f"report of {runs} runs: {out} ({size:.1f} MB); open it in a browser")
    return 0
