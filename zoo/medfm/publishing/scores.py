"""Published scores on the pages of models, datasets, metrics and sources, always grouped by protocol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from medfm.publishing.prose import escape, link, relative, table, unsearched
from medfm.publishing.site import Found, Site

_UNITS = {"fraction": "", "percent": " %", "mm": " mm", "pixel": " px", "points": " points", "ratio": ""}


def value_text(found: Found) -> str:
    """Return a score with unit and interval, with as many digits as the longest value of its table has."""
    score = found.score
    unit = _UNITS[found.table.unit]
    digits = max(_digits(other.value) for other in found.table.scores)
    text = f"{score.value:.{digits}f}{unit}"
    if score.ci:
        text += f" ({score.ci[0]:.{digits}f} to {score.ci[1]:.{digits}f})"
    if score.sd is not None:
        text += f" ± {score.sd:g}"
    return text


def _digits(value: float) -> int:
    """Return how many digits a value has behind its point: 96.0 was read from "96" as well as from "96.0"."""
    fraction = repr(value).partition(".")[2]
    return 0 if fraction == "0" or "e" in fraction else len(fraction)


def where(site: Site, here: str, found: Found) -> str:
    """Return a link to the table that holds the score, with its place in the source and who reported it."""
    target = f"{relative(here, site.page(found.results.id))}#table-{found.number}"
    return f"{link(found.results.id, target)}: {escape(found.table.locator)}"


def scores_of_model(site: Site, here: str, found: Sequence[Found]) -> str:
    """Return one table of a model's scores; the protocol stands once for all metrics that share it."""
    body = []
    before = None
    for item in sorted(found, key=lambda f: (f.protocol, f.table.metric, f.results.id, f.number)):
        protocol = protocol_text(site, here, item) if item.protocol != before else ""
        before = item.protocol
        details = f" ({escape(item.score.details)})" if item.score.details else ""
        body.append(
            (
                protocol,
                site.link(here, item.table.metric, site.short_name(item.table.metric)) + details,
                escape(value_text(item)),
                item.table.reported_by,
                where(site, here, item),
            )
        )
    header = ("Protocol", "Metric", "Value", "Reported by", "Read at")
    return unsearched(table(header, body, numeric=[2]), "scores")


def protocol_text(site: Site, here: str, found: Found, *, dataset: bool = True) -> str:
    """Return a protocol in one line: dataset, split, task, setting, details."""
    protocol = found.table.protocol
    parts = [
        site.link(here, protocol.dataset) if dataset else "",
        escape(protocol.split or ""),
        site.words(here, "task", [protocol.task]),
        escape(site.label("setting", protocol.setting)),
    ]
    details = f'<br><span class="faint small">{escape(protocol.details)}</span>' if protocol.details else ""
    return ", ".join(part for part in parts if part) + details


def comparisons(site: Site, here: str, found: Iterable[Found], *, dataset: bool) -> str:
    """Return scores side by side where they may be compared: one table a protocol and metric, best first.

    Args:
        site: the site.
        here: the page that shows them.
        found: the scores.
        dataset: whether headings name the dataset.
    """
    groups: dict[tuple[tuple[str, str, str, str, str], str, str], list[Found]] = {}
    for item in found:
        groups.setdefault((item.protocol, item.table.metric, item.table.unit), []).append(item)
    parts = []
    for (_, metric, _), items in sorted(groups.items(), key=lambda group: (group[0][0], group[0][1], group[0][2])):
        title = f"**{site.link(here, metric, site.short_name(metric))}**: {protocol_text(site, here, items[0], dataset=dataset)}"
        parts.append(f"{title}\n\n{ranking(site, here, items)}")
    return "\n\n".join(parts)


def ranking(site: Site, here: str, items: Sequence[Found], *, with_source: bool = True) -> str:
    """Return a table of models and their scores, best first by the metric's direction."""
    metric = site.records.get(items[0].table.metric)
    upward = getattr(metric, "direction", None) != "lower"
    counted = any(item.score.n is not None for item in items)
    body = []
    for item in sorted(items, key=lambda f: (-f.score.value if upward else f.score.value, f.score.model)):
        details = f" ({escape(item.score.details)})" if item.score.details else ""
        row = [site.link(here, item.score.model) + details, escape(value_text(item))]
        if with_source:
            row += [item.table.reported_by, where(site, here, item)]
        elif counted:
            row.append(f"{item.score.n:,}" if item.score.n is not None else "")
        body.append(row)
    header = ["Model", "Value", *(["Reported by", "Read at"] if with_source else ["Cases"] if counted else [])]
    return unsearched(table(header, body, numeric=[1] if with_source else [1, 2]))
