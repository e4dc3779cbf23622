"""Training, testing, checkpoint files: what the command-line entries in ``tools/`` call.

``freekd.fileio`` and ``freekd.engine.convert`` are pure torch; the other modules import the
OpenMMLab packages, after :func:`freekd.compat.apply`.
"""
