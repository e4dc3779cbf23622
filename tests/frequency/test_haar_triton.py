"""The Triton kernels: numbers by the interpreter, compiling without a GPU, and runs on a GPU.

What needs a GPU skips where there is none.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch

from freekd.frequency import WaveletTransform
from freekd.frequency.triton import ops
from freekd.losses.freekd import freekd_loss
from freekd.prompts.forms import EnergyBiasForm
from freekd.prompts.masks import prompt_masks

ROOT = Path(__file__).resolve().parents[2]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="skipped, no CUDA")
needs_triton = pytest.mark.skipif(ops.kernels() is None, reason="needs triton 3.5 or newer")
needs_older_numpy = pytest.mark.skipif(  # the kernels themselves do not
    numpy.lib.NumpyVersion(numpy.__version__) >= "2.4.0",
    reason="triton 3.6's interpreter makes scalars of arrays in a way that numpy 2.4 refuses",
)


def run(args, **environment):
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    env = {key: value for key, value in env.items() if value is not None}
    done = subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, cwd=str(ROOT), env=env, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


INTERPRETED = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]
INTERPRETED += ["tests/frequency/interpreted_haar_triton.py"]


@needs_triton
@needs_older_numpy
def test_numbers_by_the_interpreter():
    assert "passed" in run(INTERPRETED, TRITON_INTERPRET="1")


@needs_triton
@needs_older_numpy
@pytest.mark.slow
def test_more_numbers_by_the_interpreter():
    assert "passed" in run(INTERPRETED, TRITON_INTERPRET="1", FREEKD_EXAMPLES="40")


WITHOUT_TRITON = """
import sys
sys.modules["triton"] = None  # an import of it raises ImportError
import torch
from freekd.frequency import dwt2
from freekd.frequency.triton import ops
assert not ops.available(torch.zeros(1, 1, 8, 8), 3)
dwt2(torch.randn(1, 1, 8, 8))
print("works")
"""


@pytest.mark.parametrize("interpret", [None, "1"])
def test_without_triton(interpret):
    assert "works" in run(["-c", WITHOUT_TRITON], TRITON_INTERPRET=interpret)


def test_a_cpu_takes_the_torch_path():
    assert not ops.available(torch.zeros(1, 1, 8, 8), 3)


# ---------------------------------------------------------------------------- compiled, no GPU

LEVELS, SIDE = 3, 4


def signature_of(kernel, map_type, constants):
    """The types of a kernel's arguments, as a launch gives them: pointers at 16 bytes, int32."""
    weights = ("*fp32",) * (3 * LEVELS + 1)
    pointers = {
        **dict.fromkeys(("student", "teacher", "pointer"), f"*{map_type}"),
        **dict.fromkeys(("weights", "bands"), weights),
        **dict.fromkeys(("omega", "grad_out", "prompt", "offset", "logits", "out"), "*fp32"),
    }
    if constants.get("GRADIENT"):
        pointers["out"] = f"*{map_type}"
    types, aligned = {}, {}
    for position, name in enumerate(kernel.arg_names):
        types[name] = "constexpr" if name in constants else pointers.get(name, "i32")
        if isinstance(types[name], tuple):
            paths = [(position, k) for k in range(len(types[name]))]
        else:
            paths = [(position,)] if types[name].startswith("*") else []
        aligned.update((path, [["tt.divisibility", 16]]) for path in paths)
    return types, aligned


def compiled(name, map_type, capability, unit, **constants):
    """(registers, spilled bytes, shared bytes) of a kernel; None for what ptxas does not say."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.backends.nvidia import compiler as nvidia
    from triton.compiler import ASTSource

    kernel = getattr(ops.kernels(), name)
    constants = {"BLOCK": 128, **constants}
    if name != "masks_kernel":
        constants.update(LEVELS=LEVELS, SIDE=SIDE, UNIT=unit, ACC=triton.language.float32)
    types, aligned = signature_of(kernel, map_type, constants)
    source = ASTSource(kernel, types, constexprs=constants, attrs=aligned)
    result = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    ptxas = Path(nvidia.__file__).parent / "bin" / "ptxas"
    target = re.search(r"\.target (sm_\w+)", result.asm["ptx"]).group(1)
    done = subprocess.run(
        [str(ptxas), "-v", f"--gpu-name={target}", "-o", os.devnull, "-"],
        input=result.asm["ptx"],
        capture_output=True,
        text=True,
        check=True,
    )
    registers = int(re.search(r"Used (\d+) registers", done.stderr).group(1))
    spilled = sum(int(n) for n in re.findall(r"(\d+) bytes spill", done.stderr))
    return registers, spilled, result.metadata.shared


DISTANCE = dict(BATCHED=-1, OMEGA=True, SQUARED=False)
LOGITS = dict(SHARED=False, SPAN=8, MAGNITUDES=False, OFFSET=False)
ENERGY = dict(SPAN=8, MAGNITUDES=True, OFFSET=True)
VARIANTS = [  # the most registers allowed: 128 threads of 128 registers fill a core 4 times
    ("distance_kernel", "fp32", 4, 72, dict(GRADIENT=False, **DISTANCE)),
    ("distance_kernel", "fp32", 4, 96, dict(GRADIENT=True, **DISTANCE)),
    ("distance_kernel", "bf16", 4, 96, dict(GRADIENT=True, **DISTANCE)),
    ("distance_kernel", "fp32", 1, 168, dict(GRADIENT=True, **DISTANCE)),
    ("analysis_kernel", "fp32", 4, 72, {}),
    ("synthesis_kernel", "fp32", 4, 72, {}),
    ("logits_kernel", "fp32", 4, 136, dict(COUNT=2, **LOGITS)),
    ("logits_kernel", "fp32", 4, 184, dict(COUNT=3, **LOGITS)),
    ("logits_kernel", "fp16", 4, 96, dict(LOGITS, COUNT=3, SHARED=True)),
    ("logits_kernel", "fp32", 4, 136, dict(COUNT=2, SHARED=False, **ENERGY)),
    ("logits_kernel", "fp32", 4, 184, dict(COUNT=3, SHARED=False, **ENERGY)),
    ("logits_kernel", "fp16", 4, 96, dict(COUNT=3, SHARED=True, **ENERGY)),
    ("masks_kernel", "fp32", 4, 64, dict(SQUARED=False)),
]


@needs_triton
@pytest.mark.parametrize("name, map_type, unit, most, constants", VARIANTS)
def test_compiles_for_hopper_without_spills(name, map_type, unit, most, constants):
    registers, spilled, shared = compiled(name, map_type, 90, unit, **constants)
    assert registers <= most
    assert spilled == 0
    assert shared <= 1024  # all exchange is by shuffles; sums of a program take a few bytes


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("name, map_type, unit, most, constants", VARIANTS)
def test_compiles_for_ampere_without_spills(name, map_type, unit, most, constants):
    assert compiled(name, map_type, 80, unit, **constants)[1:2] == (0,)


# ----------------------------------------------------------------------------------- on a GPU


def example(dtype, size, levels, device):
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 2, 6, *size, generator=generator).to(device, dtype)
    prompt = torch.randn(3 * levels + 1, 4, 6, generator=generator).to(device)
    return student, teacher, prompt, torch.rand(2, 6, generator=generator).to(device)


GPU_TYPES = [(torch.float32, levels) for levels in (1, 2, 3, 4)]
GPU_TYPES += [(dtype, 3) for dtype in (torch.float64, torch.bfloat16, torch.float16)]


@needs_gpu
@pytest.mark.parametrize("size", [(7, 11), (25, 42), (40, 64)])
@pytest.mark.parametrize("dtype, levels", GPU_TYPES)
def test_gpu_kernels_against_the_cpu(dtype, size, levels):
    """All kernels, compiled: against the torch path in float64."""
    student, teacher, prompt, omega = example(dtype, size, levels, "cuda")
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    tolerance = {torch.float64: 1e-10, torch.float32: 1e-5}.get(dtype, 1e-2)

    def close(ours, theirs, limit):
        worst = (ours.double().cpu() - theirs).abs().max() / theirs.abs().max().clamp_min(1e-30)
        assert float(worst) < limit, float(worst)

    from freekd.frequency import dwt2
    from freekd.frequency.haar_distance import plain_distance

    exact = [x.double().cpu() for x in (student, teacher, prompt, omega)]
    bands = ops.analysis(student, levels)
    for band, oracle in zip(bands, dwt2(exact[0], levels=levels).flat()):
        close(band, oracle, 1e-10 if wide == torch.float64 else 1e-5)
    close(ops.synthesis(bands, size), exact[0], 1e-10 if wide == torch.float64 else 1e-5)
    transform = WaveletTransform(levels=levels)
    masks = prompt_masks(exact[2], transform.analyse(exact[1]), transform)
    energy = EnergyBiasForm(torch.rand(len(prompt), 6) + 0.5, torch.randn(prompt.shape[:2]))
    of_energy = prompt_masks(exact[2], transform.analyse(exact[1]), transform, "band", energy)
    factors = EnergyBiasForm(energy.mean.cuda(), energy.bias.cuda()).factors(prompt)
    options = (factors.weights, levels, "band", False, True, factors.offset)
    for weight, mask in zip(ops.mask_weights(teacher, *options), of_energy):
        close(weight, mask.mean(1), 1e-5)
    for squared in (False, True):
        weights = ops.mask_weights(teacher, prompt, levels, "band", squared)
        expected = [(m.square() if squared else m).mean(1) for m in masks]
        for weight, oracle in zip(weights, expected):
            close(weight, oracle, 1e-10 if wide == torch.float64 else 1e-5)
        leaf = exact[0].clone().requires_grad_()
        value = plain_distance(leaf, exact[1], expected, exact[3], squared)
        (gradient,) = torch.autograd.grad(value, leaf, torch.tensor(0.3, dtype=torch.float64))
        options = (weights, omega, levels, squared)
        ours = ops.distance_value(student, teacher, *options)
        close(ours, value.detach(), 1e-10 if wide == torch.float64 else 1e-5)
        factor = torch.tensor(0.3, device="cuda", dtype=torch.float64)
        ours = ops.distance_gradient(student, teacher, *options, factor)
        assert ours.dtype == dtype
        close(ours, gradient, tolerance)


@needs_gpu
def test_gpu_value_is_deterministic():
    student, teacher, prompt, omega = example(torch.float32, (100, 168), 3, "cuda")
    results = set()
    for _ in range(3):
        weights = ops.mask_weights(teacher, prompt, 3)
        results.add(float(ops.distance_value(student, teacher, weights, omega, 3, False)))
    assert len(results) == 1


@needs_gpu
def test_gpu_does_not_wait_for_the_host():
    """Loss and gradient are queued: nothing is read back, not the incoming gradient either."""
    student, teacher, prompt, omega = example(torch.float16, (25, 42), 3, "cuda")
    leaf = student.requires_grad_()

    def step():
        weights = ops.mask_weights(teacher, prompt, 3)
        masks = [weight.unsqueeze(1) for weight in weights]
        (freekd_loss(leaf, teacher, masks, omega[:, :, None, None]) * 1024).backward()

    step()  # compiles, and fills the allocator's cache
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode(mode)


@needs_gpu
def test_gpu_memory_of_the_loss():
    """Beside its inputs the loss holds the gradient, and nothing else of its size."""
    size = (2, 256, 100, 168)
    student = torch.randn(size, device="cuda", requires_grad=True)
    teacher = torch.randn(size, device="cuda")
    freekd_loss(student, teacher).backward()
    student.grad = None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    freekd_loss(student, teacher).backward()
    extra = torch.cuda.max_memory_allocated() - before
    assert extra < 1.1 * student.numel() * student.element_size()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="skipped, no second CUDA device")
@needs_gpu
def test_gpu_that_is_not_the_current_one():
    student, teacher, prompt, omega = example(torch.float32, (25, 42), 3, "cuda:1")
    assert torch.cuda.current_device() == 0
    weights = ops.mask_weights(teacher, prompt, 3)
    value = ops.distance_value(student, teacher, weights, omega, 3, False)
    assert value.device == student.device and bool(value.isfinite())
