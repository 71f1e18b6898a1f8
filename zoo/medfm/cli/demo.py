"""`medfm demo`: the main job from end to end, on real inputs with real weights."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from medfm.cli.arguments import Parser

if TYPE_CHECKING:
    from medfm.catalog.store import Catalog

_STEPS = ("brain", "spindles", "receptors", "antibodies")


def demo(arguments: list[str]) -> int:
    parser = Parser(
        "demo",
        "Look four models up, load their pretrained weights, run them on real inputs, and write results and pictures. "
        "For research use only.",
        ["", "--output /tmp/demo --only brain", "--sample colin27-t1"],
    )
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for the results (default: demo)")
    parser.add_argument("--only", choices=_STEPS, action="append", help="only this part; repeat for several")
    parser.add_argument("--sample", help="sample for the brain (default: colin27-t1 where installed, else mni152-t1)")
    parser.add_argument("--offline", action="store_true", help="never open a socket")
    given = parser.parse_args(arguments)
    from medfm.catalog.store import Catalog
    from medfm.cli import printing
    from medfm.files import writing

    started = time.perf_counter()
    catalog = Catalog.load()
    print(f"{len(catalog.models)} models in the catalog; these can be loaded here and now:\n")
    loadable = catalog.select("model", loadable=True)
    printing.table(
        [[m.id, ", ".join(getattr(m, "tasks", ())), m.summary] for m in loadable], ["id", "tasks", "summary"]
    )
    given.output.mkdir(parents=True, exist_ok=True)
    summary: dict[str, object] = {}
    parts = {"brain": _brain, "spindles": _spindles, "receptors": _receptors, "antibodies": _antibodies}
    for name in given.only or _STEPS:
        print(f"\n{name}")
        begun = time.perf_counter()
        found = parts[name](catalog, given.output, given.offline, given.sample)
        summary[name] = found | {"seconds": round(time.perf_counter() - begun, 1)}
        for key, value in found.items():
            print(f"  {key}: {value}")
    with writing(given.output / "summary.json", overwrite=True) as temporary:
        temporary.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    files = sorted(path for path in given.output.iterdir() if not path.name.endswith(".provenance.json"))
    print(f"\nmade in {time.perf_counter() - started:.0f} s, each result with its provenance beside it:")
    for path in files:
        print(f"  {path}")
    print(
        "\ntry next:\n"
        "  medfm run deepbet YOUR_T1.nii.gz -o brain.nii.gz      the same on your own volume\n"
        "  medfm contract deepbet --explain YOUR_T1.nii.gz       what each step does to it\n"
        '  medfm search "chest x-ray report"                     what else there is\n'
        "  medfm show uni2-h                                     every fact with its source\n"
        "For research use only."
    )
    return 0


def _brain(catalog: Catalog, output: Path, offline: bool, chosen: str | None) -> dict[str, object]:
    import nibabel
    import numpy as np

    from medfm.evaluation.metrics import dice
    from medfm.runtime import samples
    from medfm.runtime.loading import load
    from medfm.runtime.outputs import Segmentation

    id = chosen or ("colin27-t1" if samples.available(catalog, "colin27-t1") else "mni152-t1")
    path = samples.sample(id, offline=offline, catalog=catalog)
    result = load("deepbet", offline=offline).segment(path)
    assert isinstance(result, Segmentation)
    result.save(output / "brain_mask.nii.gz", overwrite=True)
    name = catalog.samples[id].name
    result.overlay(output / "brain_overlay.png", overwrite=True, title=f"deepbet on {name}")
    found: dict[str, object] = {
        "input": f"{name} ({id})",
        "brain volume": f"{result.volumes_ml()['brain']:.0f} mL",
        "seconds for inference": result.provenance.seconds,
    }
    reference = samples.reference(id, offline=offline, catalog=catalog)
    if reference is not None:
        mask = np.asarray(nibabel.load(reference).dataobj)
        made_by = catalog.samples[id].references[0].made_by
        found["Dice against the reference"] = f"{dice(result.mask, mask):.3f} ({made_by})"
    return found


def _spindles(catalog: Catalog, output: Path, offline: bool, chosen: str | None) -> dict[str, object]:  # noqa: ARG001
    from medfm.runtime import samples
    from medfm.runtime.loading import load

    record = catalog.samples["openspindlenet-eeg-sample"]
    path = samples.sample(record.id, offline=offline, catalog=catalog)
    result = load("openspindlenet-eeg", offline=offline).detect(path, sampling_rate=record.sampling_rate)
    result.save(output / "spindles.csv", overwrite=True)
    result.plot(output / "spindles.png", overwrite=True, title="Sleep spindles found by openspindlenet")
    times = ", ".join(f"{event.start:.1f}-{event.end:.1f} s ({event.confidence:.2f})" for event in result.events)
    return {"input": record.name, "spindles": len(result.events), "where": times}


def _receptors(catalog: Catalog, output: Path, offline: bool, chosen: str | None) -> dict[str, object]:  # noqa: ARG001
    import numpy as np

    from medfm.runtime import samples
    from medfm.runtime.loading import load
    from medfm.runtime.outputs import table
    from medfm.runtime.pictures import heatmap

    record = catalog.samples["published-tcrs"]
    path = samples.sample(record.id, offline=offline, catalog=catalog)
    result = load("sceptr", offline=offline).embed(path)
    result.save(output / "receptor_vectors.csv", overwrite=True)
    distances = result.distances()
    rows = [[name, *(f"{d:.4f}" for d in row)] for name, row in zip(result.names, distances, strict=True)]
    result.write(output / "receptor_distances.csv", lambda to: table(to, ["name", *result.names], rows), overwrite=True)
    title = "SCEPTR: distances between T-cell receptors"
    picture = output / "receptor_distances.png"
    result.write(picture, lambda to: heatmap(distances, result.names, to, title), overwrite=True)
    with path.open(newline="") as file:
        epitopes = np.array([row["epitope"] for row in csv.DictReader(file)])
    same = (epitopes[:, None] == epitopes[None]) & ~np.eye(len(epitopes), dtype=bool)
    different = epitopes[:, None] != epitopes[None]
    return {
        "input": record.name,
        "distance, same epitope": f"{distances[same].mean():.2f} on average",
        "distance, different epitope": f"{distances[different].mean():.2f} on average",
    }


def _antibodies(catalog: Catalog, output: Path, offline: bool, chosen: str | None) -> dict[str, object]:  # noqa: ARG001
    from medfm.runtime import samples
    from medfm.runtime.inputs import Sequences, read_sequences
    from medfm.runtime.loading import load
    from medfm.runtime.outputs import table

    record = catalog.samples["published-antibodies"]
    path = samples.sample(record.id, offline=offline, catalog=catalog)
    model = load("antiberty", offline=offline)
    sequences = read_sequences(path)
    labels = model.classify(sequences)
    labels.save(output / "antibody_labels.csv", overwrite=True)
    # every tenth residue is hidden and asked for again
    hidden = tuple("".join("_" if i % 10 == 9 else c for i, c in enumerate(letters)) for letters in sequences.letters)
    written = model.generate(Sequences(sequences.names, hidden))
    written.save(output / "antibody_recovered.fasta", overwrite=True)
    rows, asked, right = [], 0, 0
    for name, true, masked, found, best in zip(
        sequences.names, sequences.letters, hidden, written.texts, labels.best(), strict=True
    ):
        gaps = [i for i, c in enumerate(masked) if c == "_"]
        hits = sum(true[i] == found[i] for i in gaps)
        asked, right = asked + len(gaps), right + hits
        rows.append([name, best["species"], best["chain"], len(gaps), hits])
    columns = ["name", "species", "chain", "hidden", "recovered"]
    written.write(output / "antibody_recovery.csv", lambda to: table(to, columns, rows), overwrite=True)
    return {"input": record.name, "hidden residues recovered": f"{right} of {asked}"}
