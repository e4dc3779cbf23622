"""ONNX export of a student by its host's own tool, and the comparison with torch.

The stock tool does the work, within :func:`freekd.compat.onnx.stock_export`; its own ``--verify``
needs a GPU and a display, so the comparison is made here. See docs/converting.md for what works.
"""

import argparse
import contextlib
import importlib
import importlib.util
import io
import os
import runpy
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from freekd import tasks
from freekd.convert.onnx_compare import Agreement, compare_with_torch
from freekd.convert.output import (
    ConversionError,
    add_output_arguments,
    check_output,
    run_converter,
    size_of,
)
from freekd.fileio import atomic_path, load_checkpoint_file
from freekd.state_dict import state_dict_of, strip_module

# constrained, as onnx alone would replace numpy by a newer one than the stack is pinned to
INSTALL = "python -m pip install -c requirements/pinned.txt onnx onnxruntime"
MIN_AGREEMENT = 0.95  # the exported models choose the candidates of the NMS a little differently


# --------------------------------------------------------------------------- inputs
def _first_image(cfg: Any) -> Optional[str]:
    """An image of ``data.test``, if its folder is there."""
    test = (cfg.get("data") or {}).get("test") or {}
    folder = Path(test.get("data_root") or "") / (
        test.get("img_prefix") or test.get("img_dir") or test.get("data_prefix") or ""
    )
    if not folder.parts or not folder.is_dir():
        return None
    found = (p for p in sorted(folder.rglob("*")) if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return next((str(path) for path in found), None)


def _normalize_cfg(cfg: Any) -> Any:
    for step in cfg.data.test.pipeline:
        for inner in [step, *step.get("transforms", [])]:
            if inner["type"] == "Normalize":
                return inner
    raise ConversionError("CONFIG: expected a Normalize step in data.test.pipeline, found none.")


# --------------------------------------------------------------------------- export
@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Swallow what the stock tools say: a warning at every shape that tracing fixes, and torch's
    dump of the whole graph on an error, which it prints from C++.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        redirect = contextlib.redirect_stdout, contextlib.redirect_stderr
        with redirect[0](io.StringIO()), redirect[1](io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for number, handle in enumerate(kept, start=1):
            os.dup2(handle, number)
            os.close(handle)
        os.close(nowhere)


def _run_stock_tool(task: tasks.Task, arguments: List[str]) -> None:
    from freekd.compat.onnx import stock_export

    package = task.package
    tool = Path(str(importlib.import_module(package).__file__)).parent / task.onnx_tool
    if not tool.is_file():
        raise ConversionError(
            f"{package} is installed without its tools: expected {tool}. Install its wheel: "
            "bash tools/setup_env.sh"
        )
    before, sys.argv = sys.argv, [str(tool), *arguments]
    try:
        with stock_export():
            runpy.run_path(str(tool), run_name="__main__")
    except (Exception, SystemExit) as error:
        first = (str(error).strip() or "no message").splitlines()[0]
        raise ConversionError(
            f"{package}'s pytorch2onnx.py failed ({type(error).__name__}): {first[:300]} "
            "docs/converting.md lists the models that can be exported."
        ) from error
    finally:
        sys.argv = before


def _build(cfg: Any, task: str, checkpoint: str, names: Any) -> Any:
    from freekd import compat
    from freekd.distill.weights import without_pretrained
    from freekd.engine.build import build_model

    cfg = cfg.copy()
    cfg.model = without_pretrained(cfg.model)
    model = build_model(cfg, task)
    compat.plain_batch_norm(model)
    model.load_state_dict(strip_module(state_dict_of(load_checkpoint_file(checkpoint))))
    model.CLASSES = names
    return model.eval()


def export_onnx(
    config: str,
    checkpoint: str,
    out_path: str,
    shape: Sequence[int] = (800, 1216),
    image: Optional[str] = None,
    dynamic: bool = False,
    force: bool = False,
    min_agreement: float = MIN_AGREEMENT,
) -> List[Tuple[Tuple[int, ...], Agreement]]:
    """Export a student to ``out_path`` and compare onnxruntime's results with torch's.

    Args:
        config: The student's config, with ``model`` and ``data.test``: a path, or a stock config
            as ``mmdet::...``.
        checkpoint: Its weights: a student-only or plain checkpoint.
        out_path: The .onnx file; written whole, and only if the results agree.
        shape: Height and width of the input.
        image: A picture to compare on; by default the first one of ``data.test``, or noise.
        dynamic: Any batch, height and width; compared at one and a half times ``shape``, too.
        force: Overwrite ``out_path``.
        min_agreement: The least share of detections or pixels that must agree.

    Returns:
        The agreement at each size that was compared.

    Raises:
        ConversionError: A package is missing, the checkpoint is not of this model, the stock
            tool fails, or the results differ; nothing is written.
        OSError, RuntimeError, ValueError: A file is missing or unreadable.
    """
    out = check_output(checkpoint, out_path, force)
    missing = [name for name in ("onnx", "onnxruntime") if not importlib.util.find_spec(name)]
    if missing:
        raise ConversionError(
            f"Export needs {' and '.join(missing)}, not found here. Run: {INSTALL}"
        )
    from freekd import compat

    compat.apply()
    import mmcv

    from freekd.config.checks import decide_task
    from freekd.config.load import keep_student_only, load_config
    from freekd.convert.check import check_student
    from freekd.zoo.stock import find_config, read_model

    cfg = load_config(find_config(config, "CONFIG"))
    if (cfg.get("algorithm") or {}).get("distiller"):
        keep_student_only(cfg)
    if cfg.get("model") is None or (cfg.get("data") or {}).get("test") is None:
        raise ConversionError(
            f"CONFIG {config}: expected the student's own config or its pair's, with 'data.test' "
            f"(whose means and deviations are used); its keys are {', '.join(list(cfg)[:8])}."
        )
    cfg.model = read_model(cfg.model, "model")  # the stock tool knows plain models only
    content = load_checkpoint_file(checkpoint)
    with _quiet():
        check_student(strip_module(state_dict_of(content)), config, checkpoint, "CONFIG")
    task = tasks.get(decide_task(cfg))
    size = tuple(int(value) for value in shape)
    names = ((content.get("meta") or {}) if isinstance(content, dict) else {}).get("CLASSES", ())
    results: List[Tuple[Tuple[int, ...], Agreement]] = []
    with tempfile.TemporaryDirectory(prefix="freekd_onnx_") as folder, atomic_path(out) as temp:
        picture = image or _first_image(cfg)
        if picture is None:
            picture = os.path.join(folder, "noise.png")
            noise = np.random.RandomState(0).randint(0, 256, (*size, 3), dtype=np.uint8)
            mmcv.imwrite(noise, picture)
        elif not os.path.isfile(picture):
            raise ConversionError(f"--input-img {picture}: expected a picture, found no file.")
        path = os.path.join(folder, "config.py")
        cfg.dump(path)
        arguments = [path, *task.onnx_arguments(checkpoint, picture)]
        arguments += ["--shape", *map(str, size), "--output-file", str(temp)]
        arguments += ["--dynamic-export"] if dynamic else []
        larger = tuple(int(value * 1.5) // 32 * 32 for value in size)
        with _quiet():
            _run_stock_tool(task, arguments)
            model = _build(cfg, task.name, checkpoint, names)
            for compared in [size, larger] if dynamic else [size]:
                example, meta = task.onnx_example(_normalize_cfg(cfg), picture, compared)
                found = compare_with_torch(model, task, str(temp), example, meta)
                results.append((compared, found))
        for compared, found in results:
            if found.equal < min_agreement * found.total:
                raise ConversionError(
                    f"torch and onnxruntime differ at {compared[0]}x{compared[1]}: {found}. "
                    f"Expected {min_agreement:.0%} (--min-agreement); nothing was written."
                )
    return results


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/model_converters/export_onnx.py``."""
    parser = argparse.ArgumentParser(description="A student as ONNX, by the stock export tool.")
    parser.add_argument("config", help="the student's config: a path, or as mmdet::...")
    parser.add_argument("checkpoint", help="a student-only or plain checkpoint")
    add_output_arguments(parser)
    parser.add_argument("--shape", type=int, nargs=2, default=(800, 1216), metavar=("H", "W"))
    parser.add_argument("--input-img", help="a picture to compare on; default: of data.test")
    parser.add_argument("--dynamic", action="store_true", help="any batch, height and width")
    parser.add_argument(
        "--min-agreement",
        type=float,
        default=MIN_AGREEMENT,
        help="least share of detections or pixels on which torch and onnxruntime agree "
        f"(default: {MIN_AGREEMENT})",
    )
    args = parser.parse_args(argv)

    def convert() -> str:
        results = export_onnx(
            args.config, args.checkpoint, args.out_path, args.shape, args.input_img,
            args.dynamic, args.force, args.min_agreement,
        )  # fmt: skip
        lines = [f"{args.out_path}: {size_of(args.out_path)}, opset 11"]
        return "\n".join(lines + [f"{h}x{w}: {found}" for (h, w), found in results])

    return run_converter(convert)
