"""Seconds and peak memory of every loadable model, each in a process of its own: what the records' `hardware` states.

Usage: python scripts/bench_models.py [--runs 3]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import textwrap

INPUTS = {
    "deepbet": ("segment", "sample('mni152-t1')", {}, "one volume of 197 x 233 x 189 voxels"),
    "openspindlenet-eeg": (
        "detect",
        "sample('openspindlenet-eeg-sample')",
        {"sampling_rate": 250},
        "30 s of one channel at 250 Hz",
    ),
    "sceptr": ("embed", "[{'TRBV': 'TRBV19', 'CDR3B': 'CASSIRSSYEQYF'}] * 512", {}, "512 receptors"),
    "antiberty": ("embed", "['EVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMS' * 3] * 64", {}, "64 sequences of 105 residues"),
}
CODE = """
    import json, resource, time
    from medfm.runtime.loading import load
    from medfm.runtime.samples import sample
    runner = load({model!r}, progress=False)
    source = {source}
    getattr(runner, {method!r})(source, **{options!r})  # the first run warms libraries up
    started = time.perf_counter()
    getattr(runner, {method!r})(source, **{options!r})
    seconds = time.perf_counter() - started
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def main() -> None:
    """Measure and print one line a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    print(f"{platform.machine()}, {os.cpu_count()} cores, float32")
    for model, (method, source, options, described) in INPUTS.items():
        code = textwrap.dedent(CODE).format(model=model, method=method, source=source, options=options)
        found = []
        for _ in range(runs):
            done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
        seconds, memory = (statistics.median(values) for values in zip(*found, strict=True))
        print(f"{model}: {seconds:.2f} s, peak {memory:.0f} MB for {described}")


if __name__ == "__main__":
    main()
