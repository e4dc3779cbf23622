"""Every method whose card says how, against the reference's numbers.

``FREEKD_GOLDEN`` names another folder of files of the same layout (in__, param__, rand__, hp__,
out64__, grad64__, gradparam64__); every file that begins with a method's name is taken.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from freekd.losses import Case, cards

pytestmark = pytest.mark.golden

FOLDER = Path(os.environ.get("FREEKD_GOLDEN") or Path(__file__).parents[1] / "golden")
FILES = [
    pytest.param(card, path, id=path.stem)
    for card in cards().values()
    if card.golden is not None
    for path in sorted(FOLDER.glob(f"{card.name}_*.npz"))
]
# dtype -> relative error of the loss, and of gradients, of the largest entry
TOLERANCE = {torch.float64: (1e-8, 1e-6), torch.float32: (1e-5, 1e-3)}


def read(path, dtype):
    """The case of a file, and its arrays."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    parts = {"in": {}, "param": {}, "rand": {}, "hp": {}}
    for name, array in arrays.items():
        kind, _, short = name.partition("__")
        if kind == "hp":
            value = array.tolist()
            parts[kind][short] = tuple(value) if isinstance(value, list) else value
        elif kind in parts:
            tensor = torch.from_numpy(array)
            tensor = tensor.to(dtype) if tensor.is_floating_point() else tensor
            learns = kind == "param" and tensor.is_floating_point()
            parts[kind][short] = tensor.requires_grad_(learns or f"grad64__{short}" in arrays)
    return Case(parts["in"], parts["param"], parts["rand"], parts["hp"]), arrays


def close(found, expected, tolerance, what):
    expected = torch.as_tensor(expected, dtype=torch.float64)
    found = torch.as_tensor(found, dtype=torch.float64).detach()
    assert found.shape == expected.shape, what
    largest = float(expected.abs().max())
    allowed = 1e-12 if largest < 1e-12 else tolerance * largest
    assert float((found - expected).abs().max()) <= allowed, what


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("card", "path"), FILES)
def test_reference_numbers(card, path, dtype):
    case, arrays = read(path, dtype)
    of_loss, of_gradient = TOLERANCE[dtype]
    outcome = card.golden(case)
    parameters = {**case.parameters, **outcome.parameters}
    outcome.outputs["loss"].backward()
    compared = set()
    for name, expected in arrays.items():
        kind, _, short = name.partition("__")
        if kind == "out64" and short in outcome.outputs:
            close(outcome.outputs[short], expected, of_loss, name)
        elif kind == "grad64":
            close(case.inputs[short].grad, expected, of_gradient, name)
        elif kind == "gradparam64":
            if dtype == torch.float32 and np.abs(expected).max() < 1e-7:
                continue  # zero in theory
            close(parameters[short].grad, expected, of_gradient, name)
        else:
            continue
        compared.add(name)
    assert "out64__loss" in compared
    assert any(name.startswith("grad64__") for name in compared)


def test_every_method_with_numbers_has_a_file():
    assert all(any(FOLDER.glob(f"{c.name}_*.npz")) for c in cards().values() if c.golden)
