from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

# What each authors' package needs beside what medfm's own environment has, at versions that are known to work together.
PACKAGES = {
    "deepbet": ["deepbet==1.0.2", "connected-components-3d==4.1.1", "fill_voids==2.1.2", "fastremap==1.21.0"],
    "openspindlenet": ["openspindlenet==0.1.1", "setuptools<81"],  # it imports pkg_resources
    "sceptr": ["sceptr==1.2.0", "libtcrlm==1.1.3", "blosum==2.2.0"],
    # its model class does not build under transformers 5
    "antiberty": ["antiberty==0.1.3", "transformers==4.48.3", "tokenizers==0.21.4", "huggingface_hub==0.36.0"],
}

Reference = Callable[..., dict[str, np.ndarray]]

LARGEST: dict[str, float] = {}
"""Model -> the largest difference that this run has seen; printed at the end, and what the records state."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the records' field `parity.largest_difference` is taken from."""
    for model, value in sorted(LARGEST.items()):
        terminalreporter.write_line(f"parity of {model}: largest difference {value:.2g}")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Install an authors' package into a folder of its own, once a session."""
    root = Path(os.environ.get("MEDFM_PARITY_PACKAGES") or tmp_path_factory.mktemp("packages"))

    def install(name: str) -> Path:
        folder = root / name
        if not folder.exists():
            command = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--target",
                str(folder),
                *PACKAGES[name],
            ]
            subprocess.run(command, check=True, capture_output=True, text=True)
        return folder

    return install


@pytest.fixture
def reference(installed: Callable[[str], Path], tmp_path: Path) -> Reference:
    """Run the authors' package on an input in a process of its own and return its outputs."""

    def run(model: str, source: Path, *options: str) -> dict[str, np.ndarray]:
        target = tmp_path / f"{model}.npz"
        import medfm

        paths = [str(installed(model)), str(Path(medfm.__file__).parents[1])]
        command = [
            sys.executable,
            str(Path(__file__).with_name("reference.py")),
            model,
            str(source),
            str(target),
            *options,
        ]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        with np.load(target) as arrays:
            return dict(arrays)

    return run
