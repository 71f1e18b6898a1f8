"""Commands that touch weights and inputs: contract, fetch, run."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from medfm.catalog.facets import as_text
from medfm.catalog.index import Index
from medfm.cli import printing
from medfm.cli.arguments import Parser, add_formats
from medfm.errors import CapabilityError, MedfmError, OutputExistsError, UsageError


def contract(arguments: list[str]) -> int:
    parser = Parser(
        "contract",
        "Show what a model needs of its input, step by step, what it gives, and the hash over both.",
        ["deepbet", "deepbet --explain t1.nii.gz", "sceptr --json"],
    )
    parser.add_argument("model", help="id of a model")
    parser.add_argument("--explain", metavar="FILE", help="run the steps on a file and say what each did to it")
    add_formats(parser)
    _add_options(parser)
    given = parser.parse_args(arguments)
    with Index.open() as index:
        record = index.record(given.model)
    if not record.get("contract"):
        raise CapabilityError(record["id"], "be run yet, so it has no contract", ())
    if given.explain:
        return _explain(record["id"], given)
    if given.format == "json":
        print(printing.as_json({key: record[key] for key in ("id", "contract", "input", "output")}))
        return 0
    if given.format == "csv":
        steps = [{"part": "input", "name": step["step"], "values": _values(step)} for step in record["input"]]
        gives = [{"part": "output", "name": name, "values": _values(v)} for name, v in record["output"].items() if v]
        printing.rows(steps + gives, ["part", "name", "values"], "csv")
        return 0
    print(f"{record['name']}   contract {record['contract']}\n\ninput")
    for number, step in enumerate(record["input"], start=1):
        print(f"  {number}. {step['step']}: {_values(step)}")
    print("\noutput")
    for name, values in record["output"].items():
        if values:
            print(f"  {name}: {_values(values)}")
    parity = record["parity"]
    print(f"\nparity with the authors' code: {parity['status']}")
    if parity["reference"]:
        reference = parity["reference"]
        source = (
            f"{reference['distribution']}=={reference['version']}"
            if reference["distribution"]
            else reference["repository"]
        )
        print(
            f"  against {source}: largest difference {parity['largest_difference']:g}, tolerance {parity['tolerance']:g}"
        )
    return 0


def _values(step: dict[str, Any]) -> str:
    parts = []
    for name, value in step.items():
        if name in ("step", "kind") or value is None or value == "":
            continue
        if isinstance(value, list) and value and isinstance(value[0], dict):
            inner = "; ".join(f"{item['step']}({_values(item)})" for item in value)
            parts.append(f"{name} [{inner}]")
        elif isinstance(value, dict) and value and all(isinstance(v, list) for v in value.values()) and name == "paths":
            parts += [
                f"{key} <- " + "; ".join(f"{i['step']}({_values(i)})" for i in items) for key, items in value.items()
            ]
        else:
            parts.append(f"{name} {as_text(value)}")
    return ", ".join(parts)


def _explain(id: str, given: Namespace) -> int:
    from medfm.runtime.explaining import explain
    from medfm.runtime.loading import load

    lines = explain(load(id, offline=given.offline), given.explain, **_options(given))
    printing.rows(lines, ["step", "shape", "range", "effect"], given.format)
    return 0


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
        ],
    )
    parser.add_argument("model", help="id of a model")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="files; or a sequence itself")
    parser.add_argument(
        "-o", "--output", required=True, type=Path, help="file, or an existing folder for several inputs"
    )
    parser.add_argument("--do", choices=["embed", "classify", "segment", "detect", "generate"],
                        help="what to do (default: the first thing that the model can)")  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace results that exist")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:0 or mps (default: cpu)")
    parser.add_argument("--dtype", default="float32", help="float32 or bfloat16 (default: float32)")
    parser.add_argument("--accept-unpinned", action="store_true", help="use weights whose sha256 is not known yet")
    _add_options(parser)
    given = parser.parse_args(arguments)
    from medfm.runtime.loading import load

    runner = load(given.model, device=given.device, dtype=given.dtype, offline=given.offline,
                  accept_unpinned=given.accept_unpinned)  # fmt: skip
    method = given.do or runner.can[0]
    targets = _targets(given, method)
    for target in targets.values():
        if target.exists() and not given.overwrite:
            raise OutputExistsError(str(target))
    if method not in runner.can:
        raise CapabilityError(runner.record.id, method, runner.can)
    failed = []
    for source, target in targets.items():
        try:
            result = getattr(runner, method)(source, **_options(given))
            print(result.save(target, overwrite=given.overwrite))
        except MedfmError as error:
            if len(targets) == 1:
                raise
            failed.append(source)
            print(f"medfm: {error}", file=sys.stderr)
    if failed:
        print(f"medfm: {len(failed)} of {len(targets)} inputs failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


_SUFFIXES = {"segment": ".nii.gz", "detect": ".csv", "embed": ".csv", "classify": ".csv", "generate": ".csv"}


def _targets(given: Namespace, method: str) -> dict[str, Path]:
    """Return where the result of each input goes."""
    if not given.output.is_dir():
        if len(given.inputs) > 1:
            raise UsageError(f"{given.output} is no folder: make it first, for several inputs give one file each")
        return {given.inputs[0]: given.output}
    targets = {}
    for source in given.inputs:
        stem = Path(source).name.split(".")[0]
        targets[source] = given.output / f"{stem}.{method}{_SUFFIXES[method]}"
    if len(set(targets.values())) < len(targets):
        raise UsageError(
            "two inputs have the same name, so one result would replace the other; run them into two folders"
        )
    return targets


def _add_options(parser: Parser) -> None:
    group = parser.add_argument_group("what the file does not say")
    group.add_argument("--sampling-rate", type=float, metavar="HZ", help="sampling rate of a recording")
    group.add_argument(
        "--assume-affine", action="store_true", help="take a NIfTI without orientation to be stored in RAS order"
    )
    group.add_argument("--fill-nan", action="store_true", help="count NaN as 0 where the authors' code does")
    group.add_argument("--um-per-px", type=float, metavar="UM", help="micrometers per pixel of a picture")
    group.add_argument("--frame", type=int, metavar="N", help="which frame of a file that holds several, from 0")
    group.add_argument(
        "--intensity-range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="what becomes black and white, for more than 8 bits",
    )
    group.add_argument(
        "--rescale",
        type=float,
        nargs=2,
        metavar=("SLOPE", "INTERCEPT"),
        help="stored values to HU, for CT whose file lacks them",
    )
    group.add_argument("--drop-alpha", action="store_true", help="use the colors of transparent pixels")
    group.add_argument("--convert-colors", action="store_true", help="convert CMYK and the like with a default profile")
    group.add_argument(
        "--exif", choices=["apply", "ignore"], help="turn a photograph as its EXIF data say, or leave it"
    )
    group.add_argument("--lenient", action="store_true", help="follow the authors' code where the file lacks something")
    parser.add_argument("--offline", action="store_true", help="never open a socket")


def _options(given: Namespace) -> dict[str, Any]:
    return {
        "strict": not given.lenient,
        "sampling_rate": given.sampling_rate,
        "assume_affine": given.assume_affine,
        "fill_nan": given.fill_nan,
        "um_per_px": given.um_per_px,
        "frame": given.frame,
        "intensity_range": tuple(given.intensity_range) if given.intensity_range else None,
        "rescale": tuple(given.rescale) if given.rescale else None,
        "drop_alpha": given.drop_alpha,
        "convert_colors": given.convert_colors,
        "exif": given.exif,
    }
