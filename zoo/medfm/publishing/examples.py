"""What a reader can copy: the Python lines for a model, and the contract that they run."""

from __future__ import annotations

from medfm.catalog.parts import Part
from medfm.catalog.records import Model, Sample
from medfm.catalog.weights import HubOrigin, PackageOrigin, UrlOrigin
from medfm.publishing.prose import bullets, escape, link, table
from medfm.publishing.site import Site

# The kind of step that reads the input -> a file name (or values) as one would write it in Python.
_INPUTS = {
    "volume": '"t1.nii.gz"',
    "signal": '"recording.edf"',
    "sequence": '["EVQLVESGGGLVQPGGSLRLSCAAS"]',
    "receptor": '"receptors.csv"',
}


def example_section(site: Site, here: str, record: Model) -> str:
    """Return how to use the model from Python or, where medfm does not run it, how to look it up and get it."""
    if record.members:
        return ""
    if record.loadable:
        return f"## Use it\n\n```python\n{python_example(record)}\n```\n\n{_shown_on(site, here, record)}".rstrip()
    parts = ["## Use it", f"```python\n{python_example(record)}\n```"]
    parts.append("medfm does not run this model; the record tells what is known of it. " + _how_to_get(record))
    return "\n\n".join(part for part in parts if part)


def python_example(record: Model) -> str:
    """Return Python lines: one call for each thing that the model gives, or the look-up in the catalog.

    The methods are those of `medfm.runtime.capabilities.METHODS`; a test holds the two equal.
    """
    if not record.loadable or record.output is None:
        look_up = f'model = medfm.Catalog.load().models["{record.id}"]'
        return f"import medfm\n\n{look_up}\nprint(model.summary, model.license, model.links)"
    given = next((_INPUTS[step.step] for step in record.input if step.step in _INPUTS), '"input.png"')
    lines = ["import medfm", "", f'model = medfm.load("{record.id}")']
    output = record.output
    if output.embedding:
        lines.append(f"model.embed({given}).vectors  # {output.embedding.dimension} numbers for each input")
    if output.scores:
        lines.append(f"model.classify({given})  # {', '.join(output.scores.groups)}")
    if output.segmentation:
        lines.append(f'model.segment({given}).save("mask.nii.gz")  # {", ".join(output.segmentation.labels.values())}')
    if output.events:
        lines.append(f"model.detect({given})  # {output.events.label}: start, end, confidence")
    if output.text:
        masked = given.replace("SCAAS", "S_AAS") if output.text.alphabet else given
        lines.append(f"model.generate({masked})")
    return "\n".join(lines)


def _shown_on(site: Site, here: str, record: Model) -> str:
    samples = [s for s in site.all("sample") if isinstance(s, Sample) and record.id in s.models]
    return f"Real inputs to try it on: {site.links(here, [s.id for s in samples])}." if samples else ""


def _how_to_get(record: Model) -> str:
    status = record.release.status if record.release else None
    page = record.links.get("weights")
    parts = []
    if status == "closed":
        return "Its weights were not released."
    if status == "withdrawn":
        return "Its weights were taken back."
    if page:
        gate = record.license.gate if record.license else None
        step = {
            "form": "accept the terms there first",
            "approval": "ask there first",
            "credentialed": "prove your credential first",
        }
        parts.append(
            f"Get the weights at {link('their page', page)}" + (f" ({step[gate]})" if gate in step else "") + "."
        )
    weights = record.weights
    if weights is not None:
        origin = weights.origin
        if isinstance(origin, HubOrigin):
            pinned = f" at commit `{origin.revision[:10]}`" if origin.revision else ""
            parts.append(f"They lie in the hub repository `{origin.repository}`{pinned}.")
        elif isinstance(origin, PackageOrigin):
            parts.append(f"They ship inside the package `{origin.distribution}` {origin.version}.")
        elif isinstance(origin, UrlOrigin):
            parts.append("Files: " + ", ".join(link(role, file.path) for role, file in origin.files.items()) + ".")
        library = getattr(weights, "library", None)
        if library:
            parts.append(f"The authors load them with `{library}`.")
    return " ".join(parts)


def contract_section(record: Model) -> str:
    """Return the input contract: each step with its values, what comes out, and the hash over all of it."""
    if not record.input:
        return ""
    parts = ["## Input and output contract"]
    if record.contract:
        parts.append(
            f"Contract `{record.contract}`: the hash covers every value below that can change a number, so two models "
            "with one hash want the same input and give output of the same form."
        )
    parts.append(
        table(
            ("", "Step", "Values"),
            [(str(i), f"**{step.step}**", _values(step, without="step")) for i, step in enumerate(record.input, 1)],
        )
    )
    if record.output:
        given = [
            f"**{name}**: {_values(getattr(record.output, name))}"
            for name in type(record.output).model_fields
            if getattr(record.output, name) is not None
        ]
        parts.append("It gives:\n\n" + bullets(given))
    return "\n\n".join(parts)


def _values(part: Part, without: str = "") -> str:
    """Return a part's values in one line; defaults are values, too: they are part of the contract."""
    found = []
    for name, value in part.model_dump(mode="json").items():
        if name == without or value is None or value in ("", [], {}):
            continue
        found.append(f"{name.replace('_', ' ')} {escape(_value(value))}")
    return ", ".join(found)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        shown = [f"{key}: {_value(inner)}" for key, inner in value.items() if inner is not None]
        return "(" + "; ".join(shown) + ")"
    if isinstance(value, list):
        return (
            " > ".join(map(_value, value)) if any(isinstance(v, dict) for v in value) else " ".join(map(_value, value))
        )
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
