"""Runs in an environment that holds medfm and its two dependencies only: every look-up must work there.

Plain Python, since pytest is not installed there either.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "numpy", "pandas", "networkx", "matplotlib", "nibabel", "transformers")
LOOK_UPS = (
    ["--help"],
    ["list"],
    ["list", "datasets", "--access", "open", "--json"],
    ["list", "--modality", "ct", "--csv"],
    ["show", "uni2-h"],
    ["show", "pcam", "--json"],
    ["search", "chest x-ray report"],
    ["compare", "uni", "uni2-h", "--markdown"],
    ["compare", "uni", "uni2-h", "--latex"],
    ["cite", "uni2-h"],
    ["graph", "pcam"],
    ["leakage", "midnight-12k", "imagenet-1k"],
    ["graph", "--dot"],
    ["check"],
    ["check", "--report"],
    ["schema", "--print", "model"],
    ["contract", "deepbet"],
    ["completion", "bash"],
    ["export", "catalog.json"],
    ["export", "models.csv", "--kind", "models"],
    ["export", "catalog.sqlite"],
    ["pages", "--output", "pages"],
)


def main() -> int:
    present = [name for name in HEAVY if importlib.util.find_spec(name)]
    assert not present, f"this environment is not bare: it has {present}"
    medfm = Path(sys.executable).with_name("medfm")
    for arguments in LOOK_UPS:
        done = subprocess.run([medfm, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"medfm {' '.join(arguments)} failed: {done.stderr}"
        assert done.stdout.strip() or arguments[0] in ("check", "pages"), arguments
    import medfm as package

    catalog = package.Catalog.load()
    assert catalog.select("model", modality="ct")
    assert catalog.search("skull stripping", kind="model")[0].id == "deepbet"
    index = Path(package.__file__).parent / "data" / "index.sqlite"
    assert index.exists(), "the wheel carries no index"
    for arguments, sentence in (
        (["run", "deepbet", "x.nii.gz", "-o", "y.nii.gz"], "pip install 'medfm[volumes]'"),
        (["graph", "nothing"], "no record is named"),
    ):
        done = subprocess.run([medfm, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 2, (arguments, done)
        assert sentence in done.stderr, done.stderr
    try:
        _ = catalog.graph
    except ImportError as error:
        assert "medfm[tables]" in str(error), error
    else:
        raise AssertionError("the graph needs networkx, which is not here")
    print(f"{len(LOOK_UPS)} look-ups work with pydantic and PyYAML alone")
    return 0


if __name__ == "__main__":
    sys.exit(main())
