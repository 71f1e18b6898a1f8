"""How long `medfm check` takes over the time of parsing (CSafeLoader) and pydantic validation alone.

Usage: python scripts/bench_check.py [--runs 5] [--records 1000]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from synthetic import write

BASE = """
    import sys, yaml
    from pathlib import Path
    from medfm.catalog.records import KINDS
    for cls in KINDS:
        for path in (Path(sys.argv[1]) / "catalog" / cls.folder).glob("*.yaml"):
            cls.model_validate(yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader) | {"id": path.stem})
"""


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Return the wall time of one process."""
    started = time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--records", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "content"
        write(given.records, root)
        environment = os.environ | {"MEDFM_CONTENT": str(root)}
        check = [str(Path(sys.executable).with_name("medfm")), "check"]
        base = [sys.executable, "-c", textwrap.dedent(BASE), str(root)]
        pairs = [(seconds(check, environment), seconds(base, environment)) for _ in range(given.runs)]
        ours, alone = (statistics.median(times) for times in zip(*pairs, strict=True))
        print(
            f"{given.records} records: medfm check {ours:.2f} s, parsing and validation alone {alone:.2f} s, "
            f"ratio {ours / alone:.2f}"
        )


if __name__ == "__main__":
    main()
