"""A first record from what a model hub says: filled in where the hub is explicit, silent where it is not."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from medfm.catalog.store import Catalog
from medfm.errors import GateError, MissingExtraError, SourceError, UsageError

# What the hub calls a pipeline -> the taxonomy's task. Tags that could mean several tasks are left out.
_TASKS = {
    "image-feature-extraction": "representation",
    "feature-extraction": "representation",
    "fill-mask": "representation",
    "image-classification": "image-classification",
    "zero-shot-image-classification": "zero-shot-classification",
    "image-segmentation": "segmentation",
    "mask-generation": "promptable-segmentation",
    "object-detection": "object-detection",
    "text-generation": "text-generation",
    "text-classification": "text-classification",
    "token-classification": "named-entity-recognition",
    "question-answering": "question-answering",
    "visual-question-answering": "visual-question-answering",
    "image-text-to-text": "visual-question-answering",
    "text-to-image": "image-generation",
    "summarization": "summarization",
}
_WEIGHTS = re.compile(r"(^|/)(model|pytorch_model|open_clip_pytorch_model|weights)\.(safetensors|bin|pth|pt)$")


def from_hub(repository: str, catalog: Catalog) -> tuple[str, str]:
    """Return the id and the YAML text of a draft for a repository of the hub.

    Args:
        repository: such as "MahmoodLab/UNI2-h".
        catalog: resolves licenses and ancestors.

    Raises:
        UsageError: the name is no repository, or the catalog has a record of it.
        SourceError: the hub cannot be reached or has no such repository.
        GateError: the repository is private.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UsageError(f"{repository!r} is no repository of the hub; write it like ORGANIZATION/NAME")
    for model in catalog.models.values():
        origin = model.weights.origin if model.weights else None
        if origin is not None and origin.kind == "hub" and origin.repository.lower() == repository.lower():
            raise UsageError(f"{repository} is in the catalog already, as {model.id}")
    info = _info(repository)
    id = re.sub(r"[^a-z0-9]+", "-", repository.partition("/")[2].lower()).strip("-")
    return id, "\n".join([*_lines(repository, info, catalog), ""])


def _info(repository: str) -> Any:
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
    except ImportError:
        raise MissingExtraError("huggingface_hub", "run", why="asking a hub") from None
    try:
        return HfApi().model_info(repository, files_metadata=True, timeout=60)
    except GatedRepoError:
        raise GateError(f"{repository} shows its card to nobody who is not logged in; run: hf auth login") from None
    except RepositoryNotFoundError:
        raise SourceError(
            f"the hub has no repository {repository}, or it is private: log in with: hf auth login"
        ) from None
    except (HfHubHTTPError, OSError) as error:
        raise SourceError(f"{repository}: the hub did not answer ({' '.join(str(error).split())[:120]})") from None
    except Exception as error:  # the hub's client has changed its HTTP library before; its errors share no base class
        if type(error).__module__.partition(".")[0] not in ("httpx", "httpx2", "httpcore", "httpcore2", "requests"):
            raise
        raise SourceError(f"{repository}: the hub cannot be reached; check the network and HF_ENDPOINT") from None


def _lines(repository: str, info: Any, catalog: Catalog) -> Iterator[str]:
    card: Mapping[str, Any] = info.card_data.to_dict() if info.card_data else {}
    evidence: dict[str, str] = {}
    name = repository.partition("/")[2]
    yield f"name: {_text(name)}"
    yield "# summary: what it is and what it is good for, in your own words, two sentences at most"
    yield f"links: {{weights: {_text(f'https://huggingface.co/{repository}')}}}"
    yield "# category: one of " + ", ".join(catalog.taxonomy.terms("category"))
    gated = getattr(info, "gated", False)
    if info.created_at is not None:
        status = "gated" if gated else "open"
        yield f"release: {{status: {status}, year: {info.created_at.year}}}  # the year in which the repository was made"
        evidence["release"] = "card: the hub's metadata"
    task = _TASKS.get(info.pipeline_tag or "")
    if task:
        yield f"tasks: [{task}]"
        evidence["tasks"] = f"card: pipeline tag {info.pipeline_tag}"
    else:
        yield "# tasks: []"
    yield "# modalities: []"
    yield from _ancestors(card, catalog, evidence)
    yield from _license(card, bool(gated), str(gated), catalog, evidence)
    yield from _weights(repository, info, evidence)
    yield "sources:"
    commit = f", commit: {_text(info.sha)}" if info.sha else ""
    today = datetime.date.today().isoformat()
    yield f"  card: {{kind: model-card, url: {_text(f'https://huggingface.co/{repository}')}{commit}, checked: {today}}}"
    yield "evidence:"
    yield from (f"  {field}: {_text(note)}" for field, note in evidence.items())
    for paper in sorted(tag.removeprefix("arxiv:") for tag in info.tags or () if tag.startswith("arxiv:")):
        yield f"# the card names arXiv {paper}: add it to survey/references.bib and to papers"
    for dataset in _list(card.get("datasets")):
        yield f"# the card names the dataset {dataset}: training.data needs its id, role and amount"
    yield f"checked: {today}"


def _ancestors(card: Mapping[str, Any], catalog: Catalog, evidence: dict[str, str]) -> Iterator[str]:
    by_repository = {
        model.weights.origin.repository.lower(): model.id
        for model in catalog.models.values()
        if model.weights is not None and model.weights.origin.kind == "hub"
    }
    for base in _list(card.get("base_model")):
        known = by_repository.get(base.lower())
        if known and "derived_from" not in evidence:
            yield f"derived_from: [{{model: {known}, relation: initialized-from}}]  # or finetuned-from: read the card"
            evidence["derived_from"] = "card: base_model"
        else:
            yield f"# the card names the base model {base}: it needs a record before derived_from can name it"


def _license(
    card: Mapping[str, Any], gated: bool, gate: str, catalog: Catalog, evidence: dict[str, str]
) -> Iterator[str]:
    parts = []
    stated = str(card.get("license") or "")
    term = catalog.taxonomy.find("license", stated) if stated else None
    link = card.get("license_link")
    if term is not None and not term.id.startswith("LicenseRef-"):
        parts.append(f"weights: {term.id}")
    elif stated and isinstance(link, str) and link.startswith("http"):
        parts.append("weights: LicenseRef-terms")
    elif stated:
        yield f"# the card says license {stated!r}, which names no terms that could be linked: read them"
    # "auto": accepted at once; "manual": somebody decides
    parts.append(f"gate: {({'auto': 'form', 'manual': 'approval'}.get(gate, 'form')) if gated else 'none'}")
    if "weights: LicenseRef-terms" in parts:
        parts.append(f"terms: {{weights: {_text(str(link))}}}")
    yield f"license: {{{', '.join(parts)}}}"
    evidence["license"] = "card: the hub's metadata"


def _weights(repository: str, info: Any, evidence: dict[str, str]) -> Iterator[str]:
    found = [file for file in info.siblings or () if _WEIGHTS.search(file.rfilename)]
    found.sort(
        key=lambda file: (not file.rfilename.endswith(".safetensors"), file.rfilename.count("/"), file.rfilename)
    )
    yield "weights:"
    yield "  family: none"
    yield "  origin:"
    yield "    kind: hub"
    yield f"    repository: {repository}"
    if info.sha:
        yield f"    revision: {_text(info.sha)}"
    if found:
        file = found[0]
        lfs = getattr(file, "lfs", None)
        hashed = f", sha256: {_text(lfs.sha256)}" if lfs and lfs.sha256 else ""
        sized = f", bytes: {file.size}" if file.size else ""
        yield f"    files: {{weights: {{path: {_text(file.rfilename)}{hashed}{sized}}}}}"
    if info.library_name:
        yield f"  library: {_text(info.library_name)}"
    evidence["weights"] = "card: the hub's metadata"


def _list(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)] if value else []


def _text(value: str) -> str:
    """Return a YAML text: plain where that is safe, else in double quotes."""
    return (
        value
        if re.fullmatch(r"[A-Za-z][\w./-]*", value) and value.lower() not in ("true", "false", "null")
        else json.dumps(value)
    )
