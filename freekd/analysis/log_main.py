"""What ``tools/analysis/logs.py`` runs: logs of several runs, old ones beside new ones."""

import argparse
import os
import sys
from pathlib import Path
from typing import List, Optional

from freekd import cli
from freekd.config.errors import ConfigError


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/analysis/logs.py``; returns the exit code."""
    args = cli.logs(argv)
    from freekd.fileio import UnreadableFileError

    try:
        _show(args)
    except (ConfigError, UnreadableFileError, OSError) as error:
        if os.environ.get("FREEKD_DEBUG"):
            raise
        print(f"error: {error}\n(FREEKD_DEBUG=1 shows where it came from)", file=sys.stderr)
        return 1
    return 0


def _show(args: argparse.Namespace) -> None:
    from freekd.analysis import log_table, logs

    outputs = [Path(path) for path in (args.plot, args.csv) if path]
    for path in outputs:
        if path.exists() and not args.force:
            raise ConfigError(
                f"{path}: expected a name that is free, but the file exists. Give another name, or "
                "--force to write over it."
            )
    if args.plot:
        log_table.check_plot(Path(args.plot))
    runs = logs.read_runs(args.runs, same_data=not args.any_data)
    keys = log_table.choose_keys(runs, args.keys)
    print("\n".join(log_table.tables(runs, keys)))
    for run in runs:
        for note in run.notes:
            print(f"note: {note}", file=sys.stderr)
    for option, write, name in (
        ("--plot", log_table.plot, args.plot),
        ("--csv", log_table.write_csv, args.csv),
    ):
        if name:
            try:
                write(runs, keys, Path(name))
            except OSError as error:
                raise ConfigError(
                    f"{option} {name}: expected a file that can be written, but: {error}. Name a "
                    "file in a folder of yours."
                ) from error
            print(f"written: {name}")
