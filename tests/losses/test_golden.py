"""Every method whose card says how, against the reference's numbers.

``FREEKD_GOLDEN`` names another folder of files of the same layout (in__, param__, rand__, hp__,
out64__, grad64__, gradparam64__, mid64__, alt64__); every file that begins with a method's name is
taken, whatever follows. What is missing in a file fails, see :func:`missing`.
"""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from freekd.losses import Case, cards

pytestmark = pytest.mark.golden

OWN = Path(__file__).parents[1] / "golden"
FOLDER = Path(os.environ.get("FREEKD_GOLDEN") or OWN)
CARDS = [card for card in cards().values() if card.golden is not None]
FILES = [
    pytest.param(card, path, id=path.stem)
    for card in CARDS
    for path in sorted(FOLDER.glob(f"{card.name}_*.npz"))
]
# dtype -> relative error of the loss, and of gradients, of the largest entry (None: the card says)
TOLERANCE = {torch.float64: (1e-8, 1e-6), torch.float32: (1e-5, None)}
RESULTS = ("out64", "alt64", "mid64")  # what an output of a card is compared with


def arrays_of(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def read(arrays, dtype):
    """The case of a file. Students and teachers require a gradient, listed in the file or not."""
    parts = {"in": {}, "param": {}, "rand": {}, "hp": {}}
    for name, array in arrays.items():
        kind, _, short = name.partition("__")
        if kind == "hp":
            value = array.tolist()
            parts[kind][short] = tuple(value) if isinstance(value, list) else value
        elif kind in parts:
            tensor = torch.from_numpy(array)
            tensor = tensor.to(dtype) if tensor.is_floating_point() else tensor
            learns = kind == "param" or short.startswith(("student", "teacher"))
            learns = learns and tensor.is_floating_point()
            parts[kind][short] = tensor.requires_grad_(learns or f"grad64__{short}" in arrays)
    return Case(parts["in"], parts["param"], parts["rand"], parts["hp"])


def close(found, expected, tolerance, what):
    expected = torch.as_tensor(expected, dtype=torch.float64)
    found = torch.as_tensor(found, dtype=torch.float64).detach()
    assert found.shape == expected.shape, what
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    allowed = 1e-12 if largest < 1e-12 else tolerance * largest
    assert not found.numel() or float((found - expected).abs().max()) <= allowed, what


def gradient(tensor):
    """Zeros where nothing arrived."""
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def numberless(name):
    """The name of an array without its level: a file may have more levels than another, or fewer.

    >>> numberless("grad64__student_12")
    'grad64__student_#'
    """
    kind, _, short = name.partition("__")
    return kind + "__" + re.sub(r"\d+", "#", short)


def sibling(path):
    """The repository's own file of the same kind: ``x_levels_open`` for ``x_levels_other``."""
    kinds = {own.stem.rpartition("_")[0]: own for own in sorted(OWN.glob("*_*.npz"))}
    fits = [kind for kind in kinds if path.stem == kind or path.stem.startswith(kind + "_")]
    return kinds[max(fits, key=len)] if fits else None


def missing(path, arrays):
    """Arrays that the file should have, levels' numbers aside.

    (1) The loss, and a gradient in some input. (2) What the repository's own file of its kind has.
    (3) Where one level has a gradient, every level. (4) Where the file has float32 results too, all
    of them. That an input, parameter or option is missing shows when the card asks for it; that a
    result or a gradient is, when ours is compared.
    """
    names = {numberless(name) for name in arrays}
    lacks = {"out64__loss"} - names
    if not any(name.startswith("grad64__") for name in names):
        lacks.add("grad64__")
    own = sibling(path)
    if own is not None:
        lacks |= {numberless(name) for name in arrays_of(own)} - names
    for name in arrays:
        kind, _, short = name.partition("__")
        if kind == "in" and numberless(f"grad64__{short}") in names:
            lacks |= {f"grad64__{short}"} - set(arrays)
        if kind in ("out64", "grad64") and kind[:-2] in {
            each.partition("__")[0] for each in arrays
        }:
            lacks |= {f"{kind[:-2]}__{short}"} - set(arrays)
    return lacks


def check(card, path, dtype):
    """The file against the card, everything in it and everything that the card gives."""
    arrays = arrays_of(path)
    assert not missing(path, arrays)
    case = read(arrays, dtype)
    of_loss, of_gradient = TOLERANCE[dtype]
    outcome = card.golden(case)
    of_gradient = of_gradient or outcome.float32_gradients
    assert of_gradient <= 2e-3, "no reference is further off"
    outcome.outputs["loss"].backward()

    there = {numberless(name) for name in arrays}
    for short, found in outcome.outputs.items():  # the card may give more than the file has
        for name in (f"{kind}__{short}" for kind in RESULTS):
            if numberless(name) in there:  # but if of one level, then of all
                close(found, arrays[name], of_loss, name)
    results = {name[len("out64__") :] for name in arrays if name.startswith("out64__")}
    assert results <= set(outcome.outputs), "not compared"

    parameters = {**case.parameters, **outcome.parameters}
    for kind, tensors in (("grad64", case.inputs), ("gradparam64", parameters)):
        listed = {name.partition("__")[2] for name in arrays if name.startswith(f"{kind}__")}
        for short in listed:
            expected, name = arrays[f"{kind}__{short}"], f"{kind}__{short}"
            if dtype == torch.float32 and 0 < np.abs(expected).max() < 1e-7:
                continue  # zero in theory
            close(gradient(tensors[short]), expected, of_gradient, name)
        for short in set(tensors) - listed:
            grad = tensors[short].grad
            assert grad is None or not grad.any(), f"{path.name} has no {kind}__{short}"


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("card", "path"), FILES)
def test_reference_numbers(card, path, dtype):
    check(card, path, dtype)


def test_every_method_with_numbers_has_a_file():
    assert all(any(OWN.glob(f"{card.name}_*.npz")) for card in CARDS)
    assert FILES, f"no file of any method in FREEKD_GOLDEN={FOLDER}"


# --------------------------------------------------------------------------- of the test itself
EXAMPLES = [  # for each method the file with the fewest arrays
    pytest.param(card, path, id=card.name)
    for card in CARDS
    for path in sorted(OWN.glob(f"{card.name}_*.npz"), key=lambda path: len(arrays_of(path)))[:1]
]


@pytest.mark.parametrize(("card", "path"), EXAMPLES)
def test_a_file_without_one_of_its_arrays_fails(card, path, tmp_path):
    """Each array of a file in turn; under another suffix, as of another folder."""
    other = tmp_path / path.name.replace("_open", "_other")
    assert sibling(other) == path
    arrays = arrays_of(path)
    shutil.copy(path, other)
    check(card, other, torch.float64)
    for name in arrays:
        np.savez(other, **{key: value for key, value in arrays.items() if key != name})
        with pytest.raises((AssertionError, LookupError, ValueError, RuntimeError)):
            check(card, other, torch.float64)


@pytest.mark.parametrize(("card", "path"), EXAMPLES)
def test_a_wrong_number_fails(card, path, tmp_path):
    """Each compared array in turn, its largest entry off by a thousandth."""
    other, arrays = tmp_path / path.name, arrays_of(path)
    for name, array in arrays.items():
        if name.startswith(("out64__", "grad64__", "gradparam64__")) and np.abs(array).max() > 1e-9:
            np.savez(other, **{**arrays, name: array * 1.001})
            with pytest.raises(AssertionError):
                check(card, other, torch.float64)
