"""How long a ViT-L takes until it can be used, from safetensors on this disk, and how much memory: medians side by side.

Usage: python scripts/bench_loading.py [--runs 5]

Every measurement is a process of its own, after its libraries are imported, in turns with the others. Weights are random: only
their number matters. Two comparisons, each on one file and one architecture:

- timm's ViT-L: `timm.create_model` and `load_state_dict`, against `medfm.runtime.checkpoint.load`;
- transformers' ViT-L: `from_pretrained`, against `medfm.runtime.checkpoint.load`.

Memory is the peak over what the libraries take, when the network is ready and after its first picture. Last, a file of 1 GB is
hashed while it comes from a server on this machine, against the same download hashed afterwards.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

_ARCHITECTURE = "vit_large_patch16_224"

# What each process runs; it prints seconds and MB.
_PROCESS = """
import json, sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import torch, timm, transformers
from safetensors.torch import load_file
from transformers import ViTConfig, ViTModel
from transformers.utils import logging
from medfm.catalog.weights import Keys
from medfm.runtime import checkpoint
logging.disable_progress_bar()
# transformers 5 names modules otherwise than files do
RENAMED = (
    (r"^encoder\\.layer\\.", "layers."),
    (r"attention\\.query", "q_proj"),
    (r"attention\\.key", "k_proj"),
    (r"attention\\.value", "v_proj"),
    (r"attention\\.output\\.dense", "attention.o_proj"),
    (r"intermediate\\.dense", "mlp.fc1"),
    (r"\\.output\\.dense", ".mlp.fc2"),
) if int(transformers.__version__.split(".")[0]) >= 5 else ()
torch.set_num_threads(2)

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

way, folder = sys.argv[1], Path(sys.argv[2])
def by_timm():
    network = timm.create_model("ARCHITECTURE", num_classes=0)
    network.load_state_dict(load_file(folder / "timm.safetensors"))
    return network.eval()
def by_medfm():
    return checkpoint.load(lambda: timm.create_model("ARCHITECTURE", num_classes=0), folder / "timm.safetensors")
def by_transformers():
    return ViTModel.from_pretrained(folder / "transformers", add_pooling_layer=False).eval()
def by_medfm_too():
    config = ViTConfig.from_pretrained(folder / "transformers")
    path = folder / "transformers" / "model.safetensors"
    return checkpoint.load(lambda: ViTModel(config, add_pooling_layer=False), path, keys=Keys(rename=RENAMED))

before = peak()
started = time.perf_counter()
network = {"timm": by_timm, "medfm": by_medfm, "transformers": by_transformers, "medfm, same file": by_medfm_too}[way]()
ready = time.perf_counter() - started
memory = peak() - before
with torch.inference_mode():
    network(torch.zeros(1, 3, 224, 224))
print(json.dumps([ready, memory, time.perf_counter() - started, peak() - before]))
""".replace("ARCHITECTURE", _ARCHITECTURE)

_FILES = """
import sys, timm
from pathlib import Path
from safetensors.torch import save_file
from transformers import ViTConfig, ViTModel
folder = Path(sys.argv[1])
save_file(timm.create_model("ARCHITECTURE", num_classes=0).state_dict(), folder / "timm.safetensors")
config = ViTConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
ViTModel(config, add_pooling_layer=False).save_pretrained(folder / "transformers")
""".replace("ARCHITECTURE", _ARCHITECTURE)

_DOWNLOAD = """
import hashlib, http.server, json, os, sys, tempfile, threading, time, urllib.request
from pathlib import Path
from medfm.catalog.weights import UrlOrigin, WeightFile
from medfm.runtime import cache, sources

path = Path(sys.argv[2]) / "timm.safetensors"
class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): pass
    def translate_path(self, _): return str(path)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}/w.safetensors"
sha256 = cache.sha256_of(path)
with tempfile.TemporaryDirectory(dir=path.parent) as folder:
    started = time.perf_counter()
    if sys.argv[1] == "hashed while it comes":
        os.environ["MEDFM_CACHE"] = folder
        sources.fetch(UrlOrigin(files={"weights": WeightFile(path=address, sha256=sha256)}), progress=False)
    else:
        with urllib.request.urlopen(address) as response, open(f"{folder}/w", "wb") as out:
            while chunk := response.read(1 << 20):
                out.write(chunk)
        assert cache.sha256_of(Path(f"{folder}/w")) == sha256
    print(json.dumps([time.perf_counter() - started]))
"""


def medians(program: str, ways: list[str], folder: Path, runs: int) -> dict[str, list[float]]:
    """Return the medians of what each way prints, measured in turns."""
    found: dict[str, list[list[float]]] = {way: [] for way in ways}
    for _ in range(runs):
        for way in ways:
            command = [sys.executable, "-c", program, way, str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
    return {way: [statistics.median(column) for column in zip(*rows, strict=True)] for way, rows in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-c", _FILES, name], check=True, capture_output=True)
        found = medians(_PROCESS, ["timm", "medfm", "transformers", "medfm, same file"], folder, given.runs)
        for way, (ready, memory, first, memory_then) in found.items():
            print(
                f"{way:<17} ready in {ready:6.3f} s with {memory:5.0f} MB, "
                f"first picture after {first:6.3f} s with {memory_then:5.0f} MB"
            )
        ours, timm = found["medfm"], found["timm"]
        print(f"ready {timm[0] / ours[0]:.1f} times faster than timm.create_model and load_state_dict (goal: 15)")
        print(
            f"peak memory {ours[1] / timm[1]:.2f} of it when ready, {ours[3] / timm[3]:.2f} after a picture (goal: 0.55)"
        )
        same, theirs = found["medfm, same file"], found["transformers"]
        print(f"ready in {same[0] / theirs[0]:.2f} of the time of transformers' from_pretrained on one file (goal: 1)")
        loads = medians(_DOWNLOAD, ["hashed while it comes", "hashed afterwards"], folder, given.runs)
        ratio = loads["hashed while it comes"][0] / loads["hashed afterwards"][0]
        print(f"a download that is hashed while it comes takes {ratio:.2f} of one that is hashed afterwards")


if __name__ == "__main__":
    main()
