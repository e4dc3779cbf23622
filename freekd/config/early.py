"""A config that is wrong by its own text is refused before the slow imports."""

import argparse
import os
import sys

from freekd import cli, compat
from freekd.config.errors import ConfigError


def stop_if_wrong(args: argparse.Namespace) -> None:
    """Read the config of a command line; where that fails, say so and end the process.

    Of several processes none does: the run itself sees that only one of them speaks.
    """
    if getattr(args, "launcher", "none") != "none" or os.environ.get("FREEKD_DEBUG"):
        return
    with compat.quiet_imports():
        from freekd.config.load import read
    try:
        read(args.config, cli.cfg_options(args))
    except ConfigError as error:
        print(f"error: {error}\n(FREEKD_DEBUG=1 shows where it came from)", file=sys.stderr)
        sys.exit(1)
