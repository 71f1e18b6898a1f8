from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import yaml

from medfm.catalog.store import read

from .servers import Site, serving

SHA = "0123456789abcdef0123456789abcdef01234567"
ANSWER = {
    "id": "example-lab/Toy.Encoder-v2",
    "sha": SHA,
    "private": False,
    "gated": "manual",
    "disabled": False,
    "createdAt": "2025-03-04T10:00:00.000Z",
    "lastModified": "2026-01-01T10:00:00.000Z",
    "downloads": 1,
    "likes": 1,
    "library_name": "timm",
    "pipeline_tag": "image-feature-extraction",
    "tags": ["timm", "arxiv:2501.00001", "license:mit"],
    "cardData": {"license": "mit", "datasets": ["example/set"], "base_model": "example/unknown-base"},
    "siblings": [
        {"rfilename": "README.md", "size": 10, "blobId": "a"},
        {"rfilename": "pytorch_model.bin", "size": 20, "blobId": "b"},
        {
            "rfilename": "model.safetensors",
            "size": 123,
            "blobId": "c",
            "lfs": {"sha256": "ab" * 32, "size": 123, "pointerSize": 134},
        },
    ],
    "spaces": [],
}


def draft(content: Path, endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1", "MEDFM_CONTENT": str(content)}
    command = [sys.executable, "-m", "medfm", "draft", "model", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def hub(**changes: object) -> Site:
    data = json.dumps(ANSWER | changes).encode()
    return Site(files={"/api/models/example-lab/Toy.Encoder-v2": data})


def test_a_draft_says_what_the_hub_says_and_asks_for_the_rest(small_catalog: Path) -> None:
    with serving(hub()) as site:
        done = draft(small_catalog, site.address, "--hub", "example-lab/Toy.Encoder-v2")
    assert done.returncode == 0, done.stderr
    path = small_catalog / "catalog" / "models" / "toy-encoder-v2.yaml"
    assert done.stdout.strip() == str(path)
    record = yaml.safe_load(path.read_text())
    assert record["release"] == {"status": "gated", "year": 2025}
    assert record["license"] == {"weights": "MIT", "gate": "approval"}
    assert record["tasks"] == ["representation"]
    origin = record["weights"]["origin"]
    assert origin["revision"] == SHA
    assert origin["files"]["weights"] == {"path": "model.safetensors", "sha256": "ab" * 32, "bytes": 123}
    assert record["sources"]["card"]["commit"] == SHA
    text = path.read_text()
    assert "# the card names arXiv 2501.00001" in text
    assert "# the card names the dataset example/set" in text
    assert "# the card names the base model example/unknown-base" in text
    # what only a person can say is what the check asks for, and nothing else
    problems = {
        problem.field for problem in read(small_catalog).problems if problem.file.endswith("toy-encoder-v2.yaml")
    }
    assert problems == {"summary", "category"}
    path.write_text(text + "summary: An encoder that exists only in these tests.\ncategory: pretrained\n")
    assert read(small_catalog).problems == []


def test_a_draft_never_replaces_a_record(small_catalog: Path) -> None:
    path = small_catalog / "catalog" / "models" / "toy-encoder-v2.yaml"
    with serving(hub()) as site:
        assert draft(small_catalog, site.address, "--hub", "example-lab/Toy.Encoder-v2").returncode == 0
        path.write_text(path.read_text() + "summary: Mine.\ncategory: pretrained\n")
        done = draft(small_catalog, site.address, "--hub", "example-lab/toy.encoder-v2")
    assert done.returncode == 2
    assert "is in the catalog already, as toy-encoder-v2" in done.stderr
    assert "Mine." in path.read_text()


def test_a_license_with_terms_of_its_own_needs_their_address(small_catalog: Path) -> None:
    card = {"license": "other", "license_link": "https://example.org/terms"}
    with serving(hub(cardData=card, gated=False)) as site:
        done = draft(small_catalog, site.address, "--hub", "example-lab/Toy.Encoder-v2", "-o", "-")
    license_ = yaml.safe_load(done.stdout)["license"]
    assert license_ == {
        "weights": "LicenseRef-terms",
        "gate": "none",
        "terms": {"weights": "https://example.org/terms"},
    }
    with serving(hub(cardData={"license": "other"}, gated=False)) as site:
        done = draft(small_catalog, site.address, "--hub", "example-lab/Toy.Encoder-v2", "-o", "-")
    assert yaml.safe_load(done.stdout)["license"] == {"gate": "none"}
    assert "which names no terms that could be linked" in done.stdout


def test_what_cannot_be_had_is_one_sentence(small_catalog: Path) -> None:
    with serving(Site(status={"/api/models/example-lab/nothing": 404})) as site:
        done = draft(small_catalog, site.address, "--hub", "example-lab/nothing")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("medfm: ")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    done = draft(small_catalog, address, "--hub", "example-lab/Toy.Encoder-v2")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "no repository of the hub" in draft(small_catalog, address, "--hub", "nonsense").stderr
