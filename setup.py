"""Packaging of freekd. The set that is developed and tested with is in requirements/pinned.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def version() -> str:
    """Read the version without importing freekd (and torch with it)."""
    text = (ROOT / "freekd" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', text, flags=re.MULTILINE)
    if found is None:
        raise RuntimeError('freekd/__init__.py has no line __version__ = "..."')
    return found.group(1)


def long_description() -> str:
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


# The core: freekd.frequency, gates, prompts, losses. Its tests also passed with the lowest of
# these versions, on Python 3.8.
CORE = [
    "torch>=1.13",  # torch.load(weights_only=True) came with it
    "numpy>=1.21",
    "PyWavelets>=1.4",
]

# Training and evaluation. Not among the core's requirements, after the custom of OpenMMLab's own
# packages: pip cannot install mmcv-full unattended (its source package needs torch and an older
# setuptools at build time, which pip's isolated builds do not give it). tools/setup_env.sh does.
MM = [
    "mmcv-full>=1.7.0,<1.8",  # 1.7 is the first series for torch 1.13; 2.0 has another API and name
    "mmdet>=2.28,<3",  # 3.0 is built on mmengine; 2.28 accepts mmcv up to 1.8
    "mmcls>=0.25,<1",  # mmrazor imports it
    "mmsegmentation>=0.30,<1",  # 1.0 is built on mmengine; freekd.compat patches both
    "mmrazor==0.3.1",  # the last 0.x release; freekd.compat knows exactly this one
    "torchvision>=0.14",  # the one of torch 1.13
    "matplotlib>=3.5",
    "jinja2>=3",
    "pillow>=9.1",
    "scipy",
    "pycocotools",
]
DATA = [
    "scikit-learn>=1.0",
    "pillow>=9.1",
    "pycocotools",
]  # the bundled detection task is made of its sample data
SAM = ["segment-anything==1.0"]  # of freekd.models.sam; pure Python, asks for nothing itself
LOGGING = ["tensorboard>=2.10"]  # for mmcv's TensorboardLoggerHook


# For an environment with opencv-python. Beside opencv-python-headless, as in the pinned set, its
# folder cv2 would be overwritten: there, pip install --no-deps -r requirements/robustness.txt.
ROBUSTNESS = [
    "imagecorruptions-imaug>=1.1.5",
    "scikit-image>=0.21,<1",  # 1.1.5 compares only the second number of its version
    "opencv-python<4.11",  # later ones ask for numpy 2, which mmcv-full 1.7 does not know
]
DEV = [
    "pytest>=7",
    "pytest-xdist>=3",
    "hypothesis>=6",
    "ruff>=0.6",
    "mypy>=1.8",
    # the tests compare with these where they are installed
    "pytorch_wavelets>=1.3",
]

setup(
    name="freekd",
    version=version(),
    description="FreeKD: knowledge distillation in the frequency domain, for MMRazor 0.x",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.8",
    packages=find_packages(include=["freekd", "freekd.*"]),
    package_data={"freekd": ["py.typed"], "freekd.report": ["page.html", "page.css", "page.js"]},
    zip_safe=False,
    install_requires=CORE,
    extras_require={
        "mm": MM,
        "data": DATA,
        "logging": LOGGING,
        "sam": SAM,
        "robustness": ROBUSTNESS,
        "dev": DEV,
        "all": MM + DATA + LOGGING + SAM + DEV,
    },
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
