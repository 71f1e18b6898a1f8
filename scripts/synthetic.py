"""A generator of synthetic content for benchmarks: many records made from the real ones under other names.

Usage: python scripts/synthetic.py 1000 FOLDER
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def write(count: int, target: Path) -> None:
    """Write a content root with `count` records that has no problems: the real catalog, and copies of its models."""
    shutil.copytree(ROOT / "survey", target / "survey")
    shutil.copytree(ROOT / "catalog", target / "catalog", ignore=shutil.ignore_patterns("schema"))
    have = sum(1 for _ in (target / "catalog").glob("*/*.yaml"))
    models = sorted((ROOT / "catalog" / "models").glob("*.yaml"))
    texts = [path.read_text(encoding="utf-8") for path in models]
    for i in range(count - have):
        text = texts[i % len(texts)]
        # a copy must not share names with its original
        text = re.sub(r"^name: .*$", f"name: Synthetic model {i}", text, count=1, flags=re.MULTILINE)
        text = re.sub(r"^aliases: \[.*?\]$", f"aliases: [Synthetic {i}]", text, count=1, flags=re.MULTILINE | re.DOTALL)
        text = re.sub(r"^aliases:\n(  - .*\n)+", f"aliases: [Synthetic {i}]\n", text, count=1, flags=re.MULTILINE)
        (target / "catalog" / "models" / f"synthetic-{i}.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(int(sys.argv[1]), Path(sys.argv[2]))
