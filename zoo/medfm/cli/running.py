"""Commands that fetch weights and run models: fetch and run."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from medfm.cli import printing
from medfm.cli.arguments import Parser
from medfm.cli.options import add_options, options
from medfm.cli.prompts import add_prompts, prompts
from medfm.errors import CapabilityError, MedfmError, OutputExistsError, UsageError

if TYPE_CHECKING:
    from medfm.runtime.many import Report
    from medfm.runtime.runner import Runner


def fetch(arguments: list[str]) -> int:
    parser = Parser(
        "fetch",
        "Fetch the weights of models, or samples, verify them, and print where they lie.",
        ["deepbet", "colin27-t1", "deepbet sceptr --json"],
    )
    parser.add_argument("ids", nargs="+", metavar="ID", help="ids of models or samples")
    parser.add_argument("--offline", action="store_true", help="never open a socket")
    parser.add_argument("--accept-unpinned", action="store_true", help="use files whose sha256 is not known yet")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="print JSON")
    given = parser.parse_args(arguments)
    from medfm.catalog.records import Model
    from medfm.catalog.store import Catalog
    from medfm.runtime import hub
    from medfm.runtime.samples import origin_of
    from medfm.runtime.sources import fetch as fetch_files

    catalog = Catalog.load()
    found = {}
    for id in given.ids:
        record = catalog[id]
        files = fetch_files(
            origin_of(catalog, id),
            offline=given.offline,
            accept_unpinned=given.accept_unpinned,
            gate=hub.gate(record) if isinstance(record, Model) else None,
        )
        found[id] = {role: str(path) for role, path in files.items()}
        if not given.format:
            for role, path in found[id].items():
                print(f"{id}\t{role}\t{path}")
    if given.format:
        print(printing.as_json(found))
    return 0


def run(arguments: list[str]) -> int:
    parser = Parser(
        "run",
        "Run a model on files and save the results, each with its provenance beside it. For research use only.",
        [
            "deepbet t1.nii.gz -o brain.nii.gz",
            "openspindlenet-eeg eeg.txt --sampling-rate 250 -o spindles.csv",
            "antiberty antibodies.fasta --do classify -o labels.csv",
            "deepbet a.nii.gz b.nii.gz -o masks/",
            "deepbet study/ -o masks/    # all volumes and DICOM series below the folder; can be stopped and resumed",
            "uni2-h tiles/ -o tiles.parquet --batch-size 32",
            "medsam ct.png --box 10,10,80,90 --box 120,40,160,95 -o masks.png    # or .npy, or .json with run lengths",
        ],
    )
    parser.add_argument("model", help="id of a model")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="files, folders, or a sequence itself")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=Path,
        help="file; an existing folder for several inputs; for folders a Parquet file (vectors, probabilities) or a folder",
    )
    parser.add_argument("--do", choices=["embed", "classify", "segment", "detect", "generate"],
                        help="what to do (default: the first thing that the model can)")  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace results that exist")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:0 or mps (default: cpu)")
    parser.add_argument("--dtype", default="float32", help="float32 or bfloat16 (default: float32)")
    parser.add_argument("--accept-unpinned", action="store_true", help="use weights whose sha256 is not known yet")
    parser.add_argument("--weights", action="append", default=[], metavar="ROLE=FILE",
                        help="local file instead of a download (its sha256 must be the record's); repeat it")  # fmt: skip
    parser.add_argument("--batch-size", type=int, metavar="N", help="inputs that run at once (folders)")
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="threads that read ahead (folders; default: 2)"
    )
    add_prompts(parser)
    add_options(parser)
    parser.add_argument("--backend", default="torch", help="torch, or openvino for image encoders on a CPU")
    given = parser.parse_args(arguments)
    from medfm.runtime.loading import load

    runner = load(given.model, device=given.device, dtype=given.dtype, backend=given.backend, offline=given.offline,
                  accept_unpinned=given.accept_unpinned, weights=_weights(given.weights))  # fmt: skip
    pointed = prompts(given)
    method = given.do or ("segment" if pointed else runner.can[0])
    if pointed and (method != "segment" or len(given.inputs) > 1):
        raise UsageError("--box and --point outline objects on one input: give one, and no other --do than segment")
    one_series = len(given.inputs) == 1 and given.output.name.lower().endswith((".nii", ".nii.gz", ".png"))
    if any(Path(source).is_dir() for source in given.inputs) and not one_series:
        return _folders(given, runner, method)
    targets = _targets(given, method, _suffix(runner, method))
    for target in targets.values():
        if target.exists() and not given.overwrite:
            raise OutputExistsError(str(target))
    if method not in runner.can:
        raise CapabilityError(runner.record.id, method, runner.can)
    failed = []
    for source, target in targets.items():
        try:
            result = getattr(runner, method)(source, **pointed, **options(given))
            print(result.save(target, overwrite=given.overwrite))
        except MedfmError as error:
            if len(targets) == 1:
                raise
            failed.append(source)
            print(f"medfm: {error}", file=sys.stderr)
    if failed:
        print(f"medfm: {len(failed)} of {len(targets)} inputs failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _weights(pairs: list[str]) -> dict[str, str | Path] | None:
    roles: dict[str, str | Path] = {}
    for pair in pairs:
        role, equals, file = pair.partition("=")
        if not equals:
            raise UsageError(f"--weights takes ROLE=FILE, such as weights=model.safetensors; not {pair!r}")
        roles[role] = file
    return roles or None


def _folders(given: Namespace, runner: Runner, method: str) -> int:
    """Run all that lies below folders."""
    from medfm.runtime import many

    runner.needs(method)
    folders = [Path(source) for source in given.inputs]
    if not all(folder.is_dir() for folder in folders):
        raise UsageError("give files or folders, not both at once")
    sources = many.find(runner, folders)
    if method in ("embed", "classify"):
        if given.output.suffix != ".parquet":
            raise UsageError(
                f"{given.output}: for a folder, {method} writes one Parquet file: end its name in .parquet"
            )
        report = many.table(runner, sources, given.output, method=method, options=options(given),
                            batch_size=given.batch_size, workers=given.workers, overwrite=given.overwrite)  # fmt: skip
    else:
        if given.output.exists() and not given.output.is_dir():
            raise OutputExistsError(str(given.output))
        report = many.files(runner, sources, given.output, method=method, suffix=_SUFFIXES[method],
                            options=options(given), overwrite=given.overwrite)  # fmt: skip
    return _told(report, len(sources))


def _told(report: Report, count: int) -> int:
    before = f", {report.there} from an earlier run" if report.there else ""
    print(f"{report.target}\t{report.done} of {count} computed{before}")
    for name, reason in report.failed.items():
        print(f"medfm: {name}: {reason}", file=sys.stderr)
    if report.failed:
        print(f"medfm: {len(report.failed)} of {count} files could not be used", file=sys.stderr)
    return 1 if report.failed else 0


_SUFFIXES = {"segment": ".nii.gz", "detect": ".csv", "embed": ".csv", "classify": ".csv", "generate": ".csv"}


def _suffix(runner: Runner, method: str) -> str:
    """Return the suffix of results in a folder: masks of pictures are pictures."""
    pictures = bool(runner.record.input) and runner.record.input[0].step == "image"
    return ".png" if method == "segment" and pictures else _SUFFIXES[method]


def _targets(given: Namespace, method: str, suffix: str) -> dict[str, Path]:
    """Return where the result of each input goes."""
    if not given.output.is_dir():
        if len(given.inputs) > 1:
            raise UsageError(f"{given.output} is no folder: make it first, for several inputs give one file each")
        return {given.inputs[0]: given.output}
    targets = {}
    for source in given.inputs:
        stem = Path(source).name.split(".")[0]
        targets[source] = given.output / f"{stem}.{method}{suffix}"
    if len(set(targets.values())) < len(targets):
        raise UsageError(
            "two inputs have the same name, so one result would replace the other; run them into two folders"
        )
    return targets
