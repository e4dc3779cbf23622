"""The examples in the core's docstrings give what they say."""

import doctest
import importlib

import pytest

MODULES = ("freekd.frequency.bands", "freekd.frequency.wavelet", "freekd.functional")


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0 and result.failed == 0
