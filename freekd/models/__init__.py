"""What MMRazor's registries see. Importing this package registers every class.

In a config: ``custom_imports = dict(imports=['freekd.models'], allow_failed_imports=False)``.
"""

from freekd import compat

compat.apply()  # before anything of the 2022-era stack is imported

from .algorithms import FreeKDDistill, FrequencyPromptFinetune  # noqa: E402
from .distillers import FreeKDDistiller  # noqa: E402
from .feature_mse import FeatureMSELoss  # noqa: E402
from .losses import FreeKDLoss  # noqa: E402
from .prompt_teacher import FrequencyPromptTeacher  # noqa: E402

__all__ = [
    "FeatureMSELoss",
    "FreeKDDistill",
    "FreeKDDistiller",
    "FreeKDLoss",
    "FrequencyPromptFinetune",
    "FrequencyPromptTeacher",
]
