"""Drafts from papers: what Crossref and arXiv say, as a record and a BibTeX entry; registries are played by a local server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from medfm.catalog.store import read
from medfm.errors import SourceError, UsageError
from medfm.runtime import papers

from .servers import Site, serving

DOI = "10.5555/medtoy.2025.7"
CROSSREF = {
    "message": {
        "type": "journal-article",
        "title": ["ToyNet: a <i>foundation</i> model for tests"],
        "author": [
            {"family": "Müller", "given": "Eva"},
            {"family": "van der Berg", "given": "Jan"},
            {"name": "The Toy Consortium"},
        ],
        "issued": {"date-parts": [[2025, 3, 1]]},
        "container-title": ["Journal of Toys"],
        "volume": "12",
        "issue": "3",
        "page": "45-67",
    }
}
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><entry><title>A Model
  of  Everything</title><published>2024-05-06T00:00:00Z</published>
<author><name>Ada van Loon</name></author><author><name>Bo Li</name></author></entry></feed>"""


def registries(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    for name in ("CROSSREF", "ARXIV"):
        monkeypatch.setenv(f"MEDFM_{name}_ENDPOINT", site.address)


def crossref(**changes: object) -> Site:
    return Site(files={f"/works/{DOI}": json.dumps({"message": CROSSREF["message"] | changes}).encode()})


@pytest.mark.parametrize("written", [DOI, f"https://doi.org/{DOI}", f"doi:{DOI}"])
def test_a_doi_becomes_an_entry(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(crossref()) as site:
        registries(monkeypatch, site)
        paper = papers.look_up(written)
    assert paper.key == "muller2025toynet"
    assert paper.bibtex(paper.key) == (
        "@article{muller2025toynet,\n  author = {Müller, Eva and van der Berg, Jan and {The Toy Consortium}},\n"
        "  title = {ToyNet: a foundation model for tests},\n  journal = {Journal of Toys},\n  volume = {12},\n  number = {3},\n"
        "  pages = {45--67},\n  year = {2025},\n  doi = {10.5555/medtoy.2025.7},\n}\n"
    )


@pytest.mark.parametrize(
    "written", ["2405.01234", "arXiv:2405.01234v2", "https://arxiv.org/abs/2405.01234", "10.48550/arXiv.2405.01234"]
)
def test_an_arxiv_number_becomes_an_entry(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Site(files={"/api/query": ATOM.encode()})) as site:
        registries(monkeypatch, site)
        paper = papers.look_up(written)
    assert paper.authors == (("van Loon", "Ada"), ("Li", "Bo"))
    assert (paper.title, paper.year, paper.arxiv) == ("A Model of Everything", 2024, "2405.01234")
    assert paper.key == "vanloon2024model"


def test_a_draft_stands_beside_the_other_records_and_its_paper_in_the_bibliography(small_catalog: Path) -> None:
    with serving(crossref()) as site:
        environment = os.environ | {"MEDFM_CROSSREF_ENDPOINT": site.address, "MEDFM_CONTENT": str(small_catalog)}
        command = [sys.executable, "-m", "medfm", "draft", "model", "--paper", DOI]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        path = small_catalog / "catalog" / "models" / "toynet.yaml"
        assert done.stdout.strip() == str(path)
        record = yaml.safe_load(path.read_text())
        assert record["name"] == "ToyNet"
        assert record["papers"] == ["muller2025toynet"]
        assert record["links"] == {"paper": f"https://doi.org/{DOI}"}
        catalog = read(small_catalog)
        asked = {p.field for p in catalog.problems if p.file.endswith("toynet.yaml")}
        assert asked == {"summary", "category"}
        path.write_text(path.read_text() + "summary: A toy.\ncategory: pretrained\nrelease: {status: open, year: 2025}\n"
                        "evidence: {release: 'paper: Data availability'}\n")  # fmt: skip
        assert read(small_catalog).problems == []
        again = subprocess.run([*command, "-o", "-"], env=environment, capture_output=True, text=True, check=False)
    assert "references.bib" not in again.stdout  # the bibliography has the paper already
    assert "papers: [muller2025toynet]" in again.stdout


def test_what_a_registry_does_not_know_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(crossref(author=[])) as site:
        registries(monkeypatch, site)
        with pytest.raises(SourceError, match="no authors"):
            papers.look_up(DOI)
        with pytest.raises(SourceError, match=r"DOI 10\.1000/none is not known there"):
            papers.look_up("10.1000/none")
    with serving(Site(files={"/api/query": b"<feed xmlns='http://www.w3.org/2005/Atom'></feed>"})) as site:
        registries(monkeypatch, site)
        with pytest.raises(SourceError, match=r"arXiv knows no paper 2405\.01234"):
            papers.look_up("2405.01234")
    with serving(Site(files={"/api/query": b"<feed"})) as site:
        registries(monkeypatch, site)
        with pytest.raises(SourceError, match="unreadable"):
            papers.look_up("2405.01234")
    with pytest.raises(SourceError, match="cannot be reached"):
        papers.look_up(DOI)  # the server is gone
    with pytest.raises(UsageError, match="neither a DOI"):
        papers.look_up("UNI")
    monkeypatch.setenv("MEDFM_CROSSREF_ENDPOINT", "ftp://127.0.0.1")
    with pytest.raises(SourceError, match="only https"):
        papers.look_up(DOI)
