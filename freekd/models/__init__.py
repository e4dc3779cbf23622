"""Networks that the host packages lack. Importing it registers them, and, as configs of version 0.1
name this package in ``custom_imports``, what :mod:`freekd.distill` does.
"""

import freekd.distill  # noqa: F401
from freekd import tasks

if tasks.get("det").installed():
    import freekd.models.dino
    import freekd.models.sam  # noqa: F401
