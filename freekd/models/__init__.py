"""Networks that the host packages lack. Configs of version 0.1 name this package in
``custom_imports``, so importing it registers what :mod:`freekd.distill` does.
"""

import freekd.distill  # noqa: F401
