"""The command lines of tools/, as far as they go without OpenMMLab."""

import pytest

from freekd import cli


def test_options_may_come_in_several_portions():
    """argparse alone would keep the last portion only, without a word."""
    args = cli.train(["c.py", "--cfg-options", "a=1", "b.c=x", "--cfg-options", "a=2", "d=[1,2]"])
    assert args.cfg_options == ["a=1", "b.c=x", "a=2", "d=[1,2]"]
    assert cli.cfg_options(args) == {"a": 2, "b.c": "x", "d": [1, 2]}


def test_without_options():
    assert cli.cfg_options(cli.train(["c.py"])) is None


def test_what_is_no_option(capsys):
    with pytest.raises(SystemExit):
        cli.train(["c.py", "--cfg-options", "a=1", "b"])
    assert "--cfg-options: expected key=value, got 'b'" in capsys.readouterr().err
