"""Write what a run of the parity tests measured into the records.

    MEDFM_PARITY_REPORT=report.json python -m pytest tests/parity
    python scripts/record_parity.py report.json

Only `largest_difference`, `versions` and `keys` of the block `parity` change; everything else stays as it is written.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

MODELS = Path(__file__).parents[1] / "catalog" / "models"


def written(text: str, measured: dict[str, Any]) -> str:
    """Return a record's text with the measured values in its block `parity`."""
    match = re.search(r"(?ms)^parity:\n(?:  .*\n)+", text)
    if match is None:
        raise ValueError("the record has no block `parity` of its own lines")
    block = match.group(0)
    versions = ", ".join(f"{name}: {_text(version)}" for name, version in sorted(measured["versions"].items()))
    values = {
        "largest_difference": f"{max(measured['inputs'], measured['outputs']):.2g}",
        "versions": f"{{{versions}}}",
        "keys": f"'{measured['keys']}'",
    }
    for name, value in values.items():
        line = f"  {name}: {value}\n"
        block, count = re.subn(rf"(?m)^  {name}: .*\n", line, block)
        if not count:
            block = re.sub(r"(?m)^  tolerance:", f"{line}  tolerance:", block)
    return text[: match.start()] + block + text[match.end() :]


def _text(version: str) -> str:
    """Return a version in quotes where YAML would read a number."""
    return f"'{version}'" if re.fullmatch(r"\d+(\.\d*)?", version) else version


def main() -> None:
    """Update every record that the report names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    report = json.loads(parser.parse_args().report.read_text())
    planted = sum(entry.get("planted", 0) for entry in report.values())
    survived = sum(len(entry.get("survived", ())) for entry in report.values())
    for id, measured in sorted(report.items()):
        if "keys" in measured:
            path = MODELS / f"{id}.yaml"
            path.write_text(written(path.read_text(), measured))
    print(f"{len(report)} models; {planted} planted errors, {planted - survived} seen, {survived} survived")


if __name__ == "__main__":
    main()
