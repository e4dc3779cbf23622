"""Work-arounds for the 2022-era OpenMMLab stack on today's torch: each with its reason.

:func:`apply` makes mmcv-full 1.x, mmdet 2.x, mmseg 0.x and mmrazor 0.3.x work together with torch
up to 2.11 and numpy up to 1.26, on GPU and on CPU. Every fix first tests for the fault itself, not
for a version number, and changes objects in memory only: the packages on disk stay as they are.
Seen with torch 2.11.0, mmcv-full 1.7.2, mmdet 2.28.2, mmsegmentation 0.30.0, mmrazor 0.3.1.
"""

from freekd import fileio
from freekd.compat.devices import fix_reppoints_device
from freekd.compat.imports import (
    add_numpy_aliases,
    import_mmrazor,
    quiet_imports,
    require,
    stub_pkg_resources,
)
from freekd.compat.logger_hooks import fix_mlflow_models
from freekd.compat.parallel import (
    fix_collect_results,
    fix_ddp,
    fix_init_dist,
    fix_scatter_stream,
    fix_seed_device,
)
from freekd.compat.runner import (
    fix_checkpoint_loading,
    fix_checkpoint_writing,
    fix_iter_runner_resume,
)

_applied = False


def apply() -> None:
    """Apply every fix once. Imports mmcv, mmdet, mmseg and mmrazor; safe to call again.

    Raises:
        ImportError: One of the packages is missing; the message names it.
    """
    global _applied
    if _applied:
        return
    add_numpy_aliases()
    stub_pkg_resources()
    fileio.allow_numpy_in_checkpoints()
    with quiet_imports():
        require("mmcv", "mmcv-full")
        require("mmdet", "mmdet")
        require("mmseg", "mmsegmentation")
        import_mmrazor()
    fix_scatter_stream()
    fix_ddp()
    fix_checkpoint_loading()
    fix_checkpoint_writing()
    fix_iter_runner_resume()
    fix_init_dist()
    fix_seed_device()
    fix_reppoints_device()
    fix_collect_results()
    fix_mlflow_models()
    _applied = True


def apply_in_worker() -> None:
    """What loading data needs, in a worker that was spawned and not forked."""
    add_numpy_aliases()
    stub_pkg_resources()
