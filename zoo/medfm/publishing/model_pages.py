"""The page of a model."""

from __future__ import annotations

from collections.abc import Iterator

from medfm.catalog.completeness import state
from medfm.catalog.records import Ancestor, Dataset, Model
from medfm.publishing import charts
from medfm.publishing.columns import size_text
from medfm.publishing.examples import contract_section, example_section
from medfm.publishing.facts import Fact, evidence, facts_table, foot, head, sheet
from medfm.publishing.prose import badge, bullets, escape, link, plural, relative, table, unsearched
from medfm.publishing.scores import scores_of_model
from medfm.publishing.site import Site, state_mark
from medfm.publishing.tables import large

STATUS = {
    "open": "Anyone can download the weights.",
    "gated": "The weights are free to download after accepting terms.",
    "closed": "The weights were not released.",
    "withdrawn": "The weights were released and taken back.",
}
GATES = {
    "none": "none: download without asking",
    "form": "form: accept terms on a page, then download",
    "approval": "approval: ask, and wait for an answer",
    "credentialed": "credentialed: prove an identity or a training first",
}


def model_page(site: Site, record: Model) -> str:
    """Return the page of one model."""
    here = site.page(record.id)
    return sheet(
        record,
        head(record, badges(record)),
        _superseded(site, here, record),
        _members(site, here, record),
        example_section(site, here, record),
        "## Facts\n\n" + facts_table(site, record, _facts(site, here, record)),
        "## License and access\n\n" + _license(record, site),
        _lineage(site, here, record),
        _training(site, here, record),
        contract_section(record),
        _scores(site, here, record),
        _challenges(site, here, record),
        foot(site, here, record),
        boost=2,
    )


def badges(record: Model) -> Iterator[str]:
    """Give the words one wants to see first: release, whether it runs here, parity, domain."""
    if record.release:
        yield badge(f"{record.release.status} weights", record.release.status, STATUS[record.release.status])
    if record.loadable:
        yield badge("runs with medfm.load", "yes", "medfm builds this model and loads its weights.")
        words = {
            "verified": "parity verified in CI",
            "recorded": "parity recorded",
            "untested": "parity untested",
        }
        yield badge(words[record.parity.status], record.parity.status, _parity(record))
    elif record.members:
        yield badge("family of models", "plain")
    else:
        yield badge("look-up only", "plain", "medfm knows this model and does not run it.")
    if record.domain == "general":
        yield badge("general domain", "plain", "Not a medical model: it stands here as an ancestor of medical ones.")


def _superseded(site: Site, here: str, record: Model) -> str:
    if not (record.release and record.release.superseded_by):
        return ""
    return f'!!! info "Superseded"\n\n    A newer version exists: {site.link(here, record.release.superseded_by)}.'


def _members(site: Site, here: str, record: Model) -> str:
    parts = []
    if families := site.families.get(record.id):
        parts.append(f"Part of the family {site.links(here, [family.id for family in families])}.")
    if record.members:
        parts.append(f"Sizes and versions: {site.links(here, record.members)}.")
    return "\n\n".join(parts)


def _facts(site: Site, here: str, record: Model) -> Iterator[Fact]:
    release, network, training = record.release, record.architecture, record.training
    yield Fact("Class", "category", site.words(here, "category", [record.category]))
    yield Fact("First released", "release.year", str(release.year) if release else "")
    yield Fact("Weights", "release.status", f"{release.status}: {STATUS[release.status]}" if release else "")
    yield Fact("Made by", "organizations", ", ".join(map(escape, record.organizations)))
    yield Fact("Modalities", "modalities", site.words(here, "modality", record.modalities))
    yield Fact("Anatomy", "anatomy", site.words(here, "anatomy", record.anatomy), optional=True)
    yield Fact("Dimensions", "dimensions", site.words(here, "dimension", record.dimensions))
    yield Fact("Tasks", "tasks", site.words(here, "task", record.tasks))
    family = site.words(here, "architecture", network.family) if network else ""
    yield Fact(
        "Architecture",
        "architecture",
        ", ".join(filter(None, (escape(network.backbone or "") if network else "", family))),
    )
    count = record.parameters
    yield Fact("Parameters", "parameters", f"{large(count)} ({count:,})" if count else "")
    yield Fact(
        "Embedding", "embedding_dim", f"{record.embedding_dim:,} numbers" if record.embedding_dim else "", optional=True
    )
    yield Fact("Context", "context", f"{record.context:,} tokens" if record.context else "", optional=True)
    yield Fact("Training methods", "training.methods", site.words(here, "method", training.methods) if training else "")
    yield Fact(
        "Objectives", "training.objectives", site.words(here, "objective", training.objectives) if training else ""
    )
    yield Fact("Training compute", "training.compute", _compute(record))
    clinical = record.clinical
    for label, name in (
        ("Intended use", "intended_use"),
        ("External validation", "external_validation"),
        ("Prospective study", "prospective"),
        ("Regulatory status", "regulatory"),
    ):
        value = getattr(clinical, name) if clinical else None
        yield Fact(label, f"clinical.{name}", escape(value or ""), optional=True)
    failures = clinical.known_failures if clinical else ()
    yield Fact("Known failures", "clinical.known_failures", "; ".join(map(escape, failures)), optional=True)
    for i, run in enumerate(record.hardware):
        measured = f"{run.input}: {run.seconds:g} s, {run.peak_memory_mb:,.0f} MB, {run.dtype} on {run.machine}"
        yield Fact("Measured run", f"hardware[{i}]", escape(measured))


def _compute(record: Model) -> str:
    compute = record.training.compute if record.training else None
    if compute is None:
        return ""
    parts = [
        compute.hardware,
        f"{compute.gpu_hours:,g} GPU hours" if compute.gpu_hours is not None else None,
        f"{compute.days:g} days" if compute.days is not None else None,
        compute.details,
    ]
    return ", ".join(escape(part) for part in parts if part)


def _parity(record: Model) -> str:
    parity = record.parity
    if parity.status == "untested":
        return "Not yet compared with the authors' own code."
    reference = parity.reference
    against = ""
    if reference:
        against = (
            f"{reference.distribution} {reference.version}" if reference.distribution else str(reference.repository)
        )
    seen = f"largest difference {parity.largest_difference:g}, " if parity.largest_difference is not None else ""
    return f"Compared with the authors' own code ({against}): {seen}tolerance {parity.tolerance:g}, {parity.dtype}."


def _license(record: Model, site: Site) -> str:
    body = []
    for part, label in (("weights", "Weights"), ("code", "Code"), ("data", "Training data"), ("gate", "Gate")):
        value = getattr(record.license, part) if record.license else None
        terms = record.license.terms.get(part) if record.license else None  # type: ignore[call-overload]  # a key of the dict
        if value:
            shown = GATES[value] if part == "gate" else site.license(value)
            body.append(
                (label, escape(shown), link("terms", terms) if terms else "", evidence(record, f"license.{part}"))
            )
        else:
            which = state(site.plain[record.id], f"license.{part}")
            body.append((label, state_mark("not looked up" if which == "value" else which), "", ""))
    return (
        '<div class="facts" markdown>\n\n'
        + table(("Part", "License", "Terms", "Read at"), body)
        + "\n\n</div>\n\nRead the terms before you use the weights: the table is no legal advice."
    )


# ---------------------------------------------------------------- lineage


def _ancestors(site: Site, record: Model) -> dict[str, Model]:
    """Return everything that the model was made from, nearest first."""
    found: dict[str, Model] = {}
    waiting = [ancestor.model for ancestor in record.derived_from]
    while waiting:
        other = site.records.get(waiting.pop(0))
        if isinstance(other, Model) and other.id not in found and other.id != record.id:
            found[other.id] = other
            waiting += [ancestor.model for ancestor in other.derived_from]
    return found


def _descendants(site: Site, record: Model) -> dict[str, Model]:
    found: dict[str, Model] = {}
    waiting = [child for child, _ in site.children.get(record.id, ())]
    while waiting:
        child = waiting.pop(0)
        if child.id not in found and child.id != record.id:
            found[child.id] = child
            waiting += [grandchild for grandchild, _ in site.children.get(child.id, ())]
    return found


def _lineage(site: Site, here: str, record: Model) -> str:
    ancestors, descendants = _ancestors(site, record), _descendants(site, record)
    if not (ancestors or descendants):
        return ""
    relatives = [*ancestors.values(), record, *descendants.values()]
    nodes = [
        charts.Node(other.id, other.name, site.href(here, other.id), str(other.release.year) if other.release else "")
        for other in relatives
    ]
    arrows = [charts.Arrow(a.model, other.id, a.relation) for other in relatives for a in other.derived_from]
    parts = ["## Lineage", f'<figure class="chart">{charts.lineage(record.id, nodes, arrows)}</figure>']
    if record.derived_from:
        parts.append("Made from:\n\n" + bullets(_relation(site, here, record, a) for a in record.derived_from))
    further = [name for name in ancestors if name not in {a.model for a in record.derived_from}]
    if further:
        parts.append(f"Further back: {site.links(here, further)}.")
    if children := site.children.get(record.id):
        parts.append(
            "Made from it:\n\n"
            + bullets(f"{site.link(here, child.id)}, {a.relation.replace('-', ' ')} it" for child, a in children)
        )
    return "\n\n".join(parts)


def _relation(site: Site, here: str, record: Model, ancestor: Ancestor) -> str:
    index = record.derived_from.index(ancestor)
    details = f": {escape(ancestor.details)}" if ancestor.details else ""
    read = evidence(record, f"derived_from[{index}]")
    return f"{ancestor.relation.replace('-', ' ')} {site.link(here, ancestor.model)}{details}" + (
        f" ({read})" if read else ""
    )


def _training(site: Site, here: str, record: Model) -> str:
    own = record.training.data if record.training else ()
    body = []
    for i, item in enumerate(own):
        amount = size_text(item.amount.model_dump(mode="json")) if item.amount else None
        body.append(
            (
                site.link(here, item.dataset),
                item.role,
                escape(", ".join(filter(None, (item.split, amount)))),
                _origins(site, here, item.dataset),
                evidence(record, f"training.data[{i}]"),
            )
        )
    parts = ["## Training data"]
    if body:
        parts.append(unsearched(table(("Dataset", "Role", "Split, amount", "Made from", "Read at"), body)))
    else:
        which = state(site.plain[record.id], "training.data")
        parts.append(f"Its own training data: {state_mark('not looked up' if which == 'value' else which)}.")
    inherited = [
        f"{site.link(here, other.id)} saw {site.links(here, dict.fromkeys(i.dataset for i in other.training.data))}"
        for other in _ancestors(site, record).values()
        if other.training and other.training.data
    ]
    if inherited:
        parts.append("What its ancestors saw counts as seen, too:\n\n" + bullets(inherited))
    return "\n\n".join(parts)


def _origins(site: Site, here: str, dataset: str) -> str:
    other = site.records.get(dataset)
    if not isinstance(other, Dataset):
        return ""
    return ", ".join(f"{i.relation.replace('-', ' ')} {site.link(here, i.dataset)}" for i in other.derived_from)


def _scores(site: Site, here: str, record: Model) -> str:
    found = site.scores_of.get(record.id)
    if not found:
        return "## Published results\n\nNo published result on this model has been entered yet."
    seen = [
        f"**{exposure.verdict}**, {site.link(here, dataset)}: {escape(exposure.sentence)}"
        for dataset in dict.fromkeys(item.table.protocol.dataset for item in found)
        if (exposure := site.exposure(record.id, dataset)).verdict in ("overlap", "possible")
    ]
    warning = (
        "\n\nRead these with care: the test set was, or may have been, seen in training.\n\n" + bullets(seen)
        if seen
        else ""
    )
    where = link("Sort and filter them among all scores", relative(here, "results/index.md") + f"?model={record.id}")
    return (
        f"## Published results\n\n{plural(len(found), 'score')}, grouped by protocol: two scores are comparable only "
        f"when dataset, split, task, setting and metric are the same. {where}.{warning}\n\n{scores_of_model(site, here, found)}"
    )


def _challenges(site: Site, here: str, record: Model) -> str:
    if not record.challenges:
        return ""
    return f"## Challenges it addresses\n\n{site.links(here, record.challenges)} (this project’s reading)."


__all__ = ["badges", "model_page"]
