"""A small catalog of every kind of record, built from dicts, for the tests of what is published."""

from __future__ import annotations

from typing import Any

from medfm.catalog.citations import Entry
from medfm.catalog.records import KINDS
from medfm.catalog.store import Catalog
from medfm.catalog.vocabulary import Taxonomy

CHECKED = "2026-11-20"
PAPER = {"paper": {"kind": "paper", "cite": "doe2024seer", "checked": CHECKED}}
HASH = "0" * 64


def term(id: str, label: str, *children: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": id, "label": label, "children": children, **more}


TAXONOMY: dict[str, Any] = {
    "sources": {},
    "facets": {
        "category": [
            term("pretrained", "Pretrained model", **{"from": "survey"}),
            term("vision", "Vision foundation model"),
        ],
        "data-category": [term("imaging", "2D and 3D medical imaging")],
        "task": [
            term("representation", "Representation", synonyms=["embedding"]),
            term(
                "segmentation",
                "Segmentation",
                term("brain-extraction", "Brain extraction", synonyms=["skull stripping"]),
            ),
        ],
        "modality": [
            term(
                "radiology",
                "Radiology",
                term("ct", "Computed tomography", synonyms=["CT"]),
                term("mri", "Magnetic resonance imaging"),
            ),
            term("pathology", "Pathology", term("he", "Hematoxylin and eosin", synonyms=["H&E"])),
        ],
        "anatomy": [term("brain", "Brain")],
        "dimension": [term("2d", "2D"), term("3d", "3D")],
        "architecture": [term("vit", "Vision Transformer"), term("cnn", "Convolutional network")],
        "method": [term("self-supervised", "Self-supervised learning")],
        "objective": [term("mae", "Masked autoencoding")],
        "setting": [term("zero-shot", "Zero-shot"), term("linear-probe", "Linear probe")],
        "license": [term("Apache-2.0", "Apache License 2.0"), term("LicenseRef-own", "Terms of their own")],
    },
}

MODELS: list[dict[str, Any]] = [
    {
        "id": "seer",
        "name": "SEER <base> | v1",
        "aliases": ["Grand Observer"],
        "summary": "An encoder for slides with *odd* letters: a_b, [c] and {d}.",
        "papers": ["doe2024seer"],
        "links": {"code": "https://example.org/seer", "weights": "https://example.org/weights"},
        "sources": PAPER | {"card": {"kind": "model-card", "url": "https://example.org/card", "checked": CHECKED}},
        "evidence": {"parameters": "card: first line; paper: Table 2", "modalities": "paper", "release": "card"},
        "derived": {"embedding_dim": "read from the configuration"},
        "undisclosed": ["training.data"],
        "not_applicable": ["context"],
        "conflicts": [
            {
                "field": "parameters",
                "claims": [{"value": "303 M", "source": "card"}, {"value": "304 M", "source": "paper: Table 2"}],
                "follows": "card",
                "reason": "The card was written later.",
            }
        ],
        "category": "pretrained",
        "release": {"status": "gated", "year": 2024},
        "modalities": ["he"],
        "tasks": ["representation"],
        "architecture": {"family": ["vit"], "backbone": "ViT-L/16"},
        "parameters": 303_000_000,
        "embedding_dim": 1024,
        "derived_from": [{"model": "ancestor", "relation": "initialized-from"}],
        "license": {
            "weights": "LicenseRef-own",
            "gate": "form",
            "terms": {"weights": "https://example.org/terms"},
        },
    },
    {
        "id": "ancestor",
        "name": "Ancestor",
        "summary": "A general encoder.",
        "category": "pretrained",
        "domain": "general",
        "release": {"status": "open", "year": 2021},
        "training": {"data": [{"dataset": "photos", "role": "pretraining"}], "methods": ["self-supervised"]},
    },
    {
        "id": "stripper",
        "name": "Stripper",
        "summary": "Finds the brain in a volume.",
        "category": "vision",
        "release": {"status": "open", "year": 2023},
        "modalities": ["mri"],
        "tasks": ["brain-extraction"],
        "architecture": {"family": ["cnn"]},
        "training": {"data": [{"dataset": "brains", "role": "pretraining", "split": "train"}]},
        "license": {"code": "Apache-2.0", "weights": "Apache-2.0", "gate": "none"},
        "weights": {
            "family": "linknet3d",
            "networks": {"mask": "mask"},
            "origin": {
                "kind": "package",
                "distribution": "stripper",
                "version": "1.0",
                "files": {"mask": {"path": "stripper/mask.pt", "sha256": HASH}},
            },
        },
        "input": [
            {"step": "volume", "modality": "mri"},
            {"step": "resize", "size": [64, 64, 64], "interpolation": "linear"},
        ],
        "output": {
            "segmentation": {"labels": {1: "brain"}, "channel": 0, "threshold": 0.5, "interpolation": "linear"},
        },
    },
]

DATASETS: list[dict[str, Any]] = [
    {
        "id": "photos",
        "name": "Photos",
        "summary": "Photographs.",
        "data_category": "imaging",
        "size": {"images": 1_200_000, "qualifier": "approximate"},
    },
    {
        "id": "brains",
        "name": "Brains",
        "summary": "Volumes of heads.",
        "data_category": "imaging",
        "modalities": ["mri"],
        "access": {"status": "open", "license": "Apache-2.0"},
        "labels": ["brain"],
        "splits": {"train": {"volumes": 10}},
    },
    {
        "id": "young-brains",
        "name": "Young brains",
        "summary": "A part of Brains.",
        "data_category": "imaging",
        "modalities": ["mri"],
        "derived_from": [{"dataset": "brains", "relation": "subset-of"}],
    },
]


def table(dataset: str, setting: str, metric: str, *scores: tuple[str, float]) -> dict[str, Any]:
    return {
        "protocol": {"dataset": dataset, "split": "test", "task": "segmentation", "setting": setting},
        "metric": metric,
        "unit": "percent",
        "reported_by": "third-party",
        "locator": "Table 3",
        "scores": [{"model": model, "value": value} for model, value in scores],
    }


OTHERS: dict[str, list[dict[str, Any]]] = {
    "metric": [
        {
            "id": "dice",
            "name": "Dice",
            "summary": "Overlap.",
            "tasks": ["segmentation"],
            "definition": r"\frac{2\,|A \cap B|}{|A| + |B|}",
            "symbols": {"A": "voxels that the model marks"},
            "range": [0, 1],
            "direction": "higher",
            "implementation": ["medfm.evaluation.metrics.dice"],
        },
        {
            "id": "hausdorff",
            "name": "Hausdorff distance",
            "summary": "Largest distance.",
            "tasks": ["segmentation"],
            "definition": r"\nosuchcommand A",
            "range": [0, None],
            "direction": "lower",
        },
    ],
    "challenge": [
        {
            "id": "scarcity",
            "name": "Scarcity",
            "summary": "Few labels.",
            "number": 1,
            "named_by": "survey",
            "question": "Who labels all this?",
            "sources": PAPER,
            "findings": [{"claim": "Labels cost time.", "source": "paper: Discussion"}],
        }
    ],
    "competition": [
        {
            "id": "cup-2024",
            "name": "Brain Cup 2024",
            "summary": "A contest.",
            "year": 2024,
            "datasets": ["brains"],
            "metrics": ["dice"],
        }
    ],
    "results": [
        {
            "id": "doe-2024",
            "name": "Doe et al. 2024",
            "summary": "A comparison.",
            "sources": PAPER,
            "source": "paper",
            "tables": [
                table("brains", "zero-shot", "dice", ("seer", 71.5), ("stripper", 96.0)),
                table("brains", "linear-probe", "dice", ("seer", 88.0)),
                table("brains", "zero-shot", "hausdorff", ("seer", 12.0), ("stripper", 3.5)),
            ],
        }
    ],
    "sample": [
        {
            "id": "head",
            "name": "A head",
            "summary": "One volume.",
            "origin": {
                "kind": "package",
                "distribution": "heads",
                "version": "2.0",
                "files": {"volume": {"path": "heads/a.nii.gz"}},
            },
            "modalities": ["mri"],
            "models": ["stripper"],
        }
    ],
}

BIBLIOGRAPHY = {
    "doe2024seer": Entry(
        "doe2024seer",
        "article",
        {
            "title": "{SEER} sees",
            "author": "Doe, Jane and Roe, Richard",
            "year": "2024",
            "doi": "10.1/seer",
            "journal": "Sight",
        },
    )
}


def catalog_of_every_kind() -> Catalog:
    """Return the catalog; it has no problems of its own to look for, so its rules are not run."""
    data = {"model": MODELS, "dataset": DATASETS, **OTHERS}
    records: dict[str, Any] = {}
    files: dict[str, str] = {}
    for cls in KINDS:
        made = [cls.model_validate({"checked": CHECKED} | values) for values in data[cls.kind]]
        records[cls.kind] = {record.id: record for record in made}
        files |= {record.id: f"catalog/{cls.folder}/{record.id}.yaml" for record in made}
    return Catalog(records, files, Taxonomy.model_validate(TAXONOMY), BIBLIOGRAPHY, ())
