"""How long look-ups take, as whole processes, in multiples of `python -c pass`: medians of runs side by side.

Usage: python scripts/bench_lookups.py [--runs 10] [--records 1000 10000]

Each catalog is measured twice: as installed content, which carries its index, and as a checkout, in which every file is looked
at before an answer is given.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from synthetic import write

LOOK_UPS = (["search", "chest x-ray report"], ["show", "uni2-h"], ["list", "--modality", "ct"])


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Return the wall time of one process."""
    started = time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--records", type=int, nargs="*", default=[1000, 10000])
    given = parser.parse_args()
    medfm = str(Path(sys.executable).with_name("medfm"))
    with tempfile.TemporaryDirectory() as folder:
        for count in given.records:
            root = Path(folder) / str(count)
            write(count, root)
            for kind in ("checkout", "installed"):
                if kind == "installed":
                    from medfm.catalog.indexing import build_file

                    build_file(str(root), str(root / "index.sqlite"))
                environment = os.environ | {"MEDFM_CONTENT": str(root), "MEDFM_CACHE": f"{folder}/cache-{kind}"}
                environment |= {"PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}
                # as on a user's machine, where modules are compiled once
                environment.pop("PYTHONDONTWRITEBYTECODE", None)
                for look_up in LOOK_UPS:
                    command = [medfm, *look_up]
                    seconds(command, environment)  # builds the index, warms the disk
                    pairs = [
                        (seconds(command, environment), seconds([sys.executable, "-c", "pass"], environment))
                        for _ in range(given.runs)
                    ]
                    ours, base = (statistics.median(times) for times in zip(*pairs, strict=True))
                    print(
                        f"{count:>6} records, {kind:<9} medfm {' '.join(look_up):<28} {ours / base:5.2f} x python -c pass"
                    )


if __name__ == "__main__":
    main()
