"""What MMRazor's registries see. Importing this package registers every class.

In a config: ``custom_imports = dict(imports=['freekd.distill'], allow_failed_imports=False)``.
"""

from freekd import compat

compat.apply()  # before anything of the 2022-era stack is imported

from .algorithms import FreeKDDistill  # noqa: E402
from .distiller import FreeKDDistiller  # noqa: E402
from .finetune import FrequencyPromptFinetune  # noqa: E402
from .prompt_teacher import FrequencyPromptTeacher  # noqa: E402
from .registry import register_losses  # noqa: E402

register_losses()

__all__ = [
    "FreeKDDistill",
    "FreeKDDistiller",
    "FrequencyPromptFinetune",
    "FrequencyPromptTeacher",
]
