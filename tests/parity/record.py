"""Run authors' code from a checkout of their repository and store what it gives (see `recordings`).

    git clone https://github.com/jusiro/FLAIR /tmp/FLAIR
    python -m tests.parity.record flair --checkout /tmp/FLAIR

Nothing of the repository is copied; the commit is read from the checkout, or given where it has no history.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.parity import harness, pictures, recordings


def main() -> None:
    """Record one model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--folder", default=".", help="the folder inside it that Python imports from")
    parser.add_argument("--commit", help="of a checkout without history")
    arguments = parser.parse_args()
    command = ["git", "-C", str(arguments.checkout), "rev-parse", "HEAD"]
    commit = arguments.commit or subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    sys.path.insert(0, str(arguments.checkout / arguments.folder))  # first: a fork may be named like a library
    from tests.parity.repositories import AUTHORS, REPOSITORIES

    author = AUTHORS[arguments.model]
    with tempfile.TemporaryDirectory() as folder:
        files = harness.sources(author, pictures.write(Path(folder)), Path(folder))
        source = {
            "model": arguments.model,
            "repository": REPOSITORIES[arguments.model],
            "commit": commit,
            "command": f"python -m tests.parity.record {arguments.model} --checkout CHECKOUT --folder {arguments.folder}",
        }
        path = recordings.record(arguments.model, author, files, source)
    sys.stdout.write(f"{path.name}: {path.with_suffix('.npz').stat().st_size / 1000:.0f} kB of arrays\n")


if __name__ == "__main__":
    main()
