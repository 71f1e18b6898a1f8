"""Pictures as SVG text, drawn without a library: releases over time, the lineage of a model, a tree of words.

Colors come from the page (`currentColor` and the classes of the style sheet), so the pictures follow light and dark
mode. Shape and words carry what color does, and each picture has a title and a description for screen readers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from medfm.publishing.prose import attribute, plural

_CHARACTER, _BOLD = 7.2, 8.0
"""Mean width of a character at 12 px in a wide font; names are cut to fit with it."""


@dataclass(frozen=True)
class Mark:
    """One thing on the timeline."""

    name: str
    year: int
    group: str
    href: str


@dataclass(frozen=True)
class Node:
    """One record in a lineage."""

    id: str
    name: str
    href: str
    note: str = ""
    """A second line, such as the year."""


@dataclass(frozen=True)
class Arrow:
    """`child` was made from `parent`."""

    parent: str
    child: str
    relation: str


@dataclass(frozen=True)
class Branch:
    """One word of a tree with how many records it holds."""

    label: str
    count: int
    href: str
    children: tuple[Branch, ...] = field(default=())


# ---------------------------------------------------------------- timeline


def timeline(marks: Iterable[Mark], groups: Mapping[str, str], *, title: str = "Releases by year") -> str:
    """Return the timeline: one column a year, one line a release, each with the sign of its group.

    Args:
        marks: what was released.
        groups: group -> label, in the order of the legend.
        title: what the picture shows.
    """
    by_year: dict[int, list[Mark]] = {}
    for mark in sorted(marks, key=lambda m: (m.year, list(groups).index(m.group), m.name.lower())):
        by_year.setdefault(mark.year, []).append(mark)
    if not by_year:
        return ""
    years = range(min(by_year), max(by_year) + 1)
    widths = {year: 176 if year in by_year else 44 for year in years}
    tallest = max(map(len, by_year.values()))
    top, line = 58, 20
    width, height = sum(widths.values()) + 8, top + tallest * line + 12
    parts = [_legend(groups)]
    x = 4.0
    for year in years:
        found = by_year.get(year, [])
        parts.append(f'<line class="rule" x1="{x:g}" y1="{top - 14}" x2="{x + widths[year] - 10:g}" y2="{top - 14}"/>')
        count = f'<tspan class="faint"> {len(found)}</tspan>' if found else ""
        parts.append(f'<text class="strong" x="{x:g}" y="{top - 20}">{year}{count}</text>')
        for i, mark in enumerate(found):
            y = top + i * line
            sign = _sign(list(groups).index(mark.group), x + 6, y)
            name = f'<text x="{x + 17:g}" y="{y + 4}">{_cut(mark.name, 152)}</text>'
            hint = f"<title>{attribute(f'{mark.name}, {mark.year}, {groups[mark.group]}')}</title>"
            parts.append(f'<a href="{attribute(mark.href)}">{hint}{sign}{name}</a>')
        x += widths[year]
    total = sum(map(len, by_year.values()))
    return _svg(width, height, title, f"{plural(total, 'release')} from {years[0]} to {years[-1]}.", parts)


def _legend(groups: Mapping[str, str]) -> str:
    parts, x = [], 4.0
    for i, label in enumerate(groups.values()):
        parts.append(f'{_sign(i, x + 6, 10)}<text class="faint" x="{x + 17:g}" y="14">{attribute(label)}</text>')
        x += 34 + len(label) * _CHARACTER
    return "".join(parts)


def _sign(index: int, x: float, y: float) -> str:
    """Return one of six shapes around a point; shapes tell groups apart where colors cannot."""
    r = 4.5
    shapes = (
        f'<circle cx="{x:g}" cy="{y:g}" r="{r}"/>',
        f'<rect x="{x - 4:g}" y="{y - 4:g}" width="8" height="8"/>',
        f'<path d="M{x:g} {y - 5:g}l5 9h-10z"/>',
        f'<path d="M{x:g} {y - 5.5:g}l5.5 5.5-5.5 5.5-5.5-5.5z"/>',
        f'<path d="M{x - 5:g} {y - 1.6:g}h3.4v-3.4h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4z"/>',
        f'<circle cx="{x:g}" cy="{y:g}" r="3.4" fill="none" stroke="currentColor" stroke-width="2"/>',
    )
    return f'<g class="sign sign-{index % len(shapes)}">{shapes[index % len(shapes)]}</g>'


# ---------------------------------------------------------------- lineage


def lineage(focus: str, nodes: Sequence[Node], arrows: Sequence[Arrow]) -> str:
    """Return a model's ancestors at its left and its descendants at its right, with the relation on each line.

    Args:
        focus: id of the model itself.
        nodes: the model and all its relatives.
        arrows: how they were made from each other; circles are cut.
    """
    known = {node.id: node for node in nodes}
    arrows = [arrow for arrow in arrows if arrow.parent in known and arrow.child in known]
    level = _levels(focus, arrows)
    columns: dict[int, list[Node]] = {}
    for node in nodes:
        columns.setdefault(level.get(node.id, 0), []).append(node)
    order = sorted(columns)
    box, gap, row = 184, 112, 52
    tallest = max(map(len, columns.values()))
    height = tallest * row + 16
    place: dict[str, tuple[float, float]] = {}
    for i, column in enumerate(order):
        top = (height - len(columns[column]) * row) / 2
        for j, node in enumerate(columns[column]):
            place[node.id] = (i * (box + gap) + 4, top + j * row + 6)
    many = {parent for parent, count in Counter(arrow.parent for arrow in arrows).items() if count > 1}
    parts = [_arrow(arrow, place, box, at_child=arrow.parent in many) for arrow in arrows]
    parts += [_box(node, *place[node.id], box, node.id == focus) for node in nodes]
    name = known[focus].name
    sentences = [f"{known[a.child].name} is {a.relation.replace('-', ' ')} {known[a.parent].name}." for a in arrows]
    return _svg(len(order) * (box + gap) - gap + 8, height, f"Lineage of {name}", " ".join(sentences), parts)


def _levels(focus: str, arrows: Sequence[Arrow]) -> dict[str, int]:
    """Return how many steps each node lies before (negative) or after the focus, by the longest way."""
    level = {focus: 0}
    for sign, near, far in ((-1, "child", "parent"), (1, "parent", "child")):
        waiting, steps = [focus], 0
        while waiting and steps < len(arrows):  # a way longer than all arrows would be a circle
            steps += 1
            waiting = list(dict.fromkeys(getattr(a, far) for a in arrows if getattr(a, near) in waiting))
            level.update({node: sign * steps for node in waiting if node != focus})
    return level


def _box(node: Node, x: float, y: float, width: int, focus: bool) -> str:
    style = "box focus" if focus else "box"
    second = (
        f'<text class="faint" x="{x + 10:g}" y="{y + 33:g}">{_cut(node.note, width - 16)}</text>' if node.note else ""
    )
    first_line = y + (17 if node.note else 25)
    name = _cut(node.name, (width - 18) * _CHARACTER / _BOLD)
    inner = (
        f"<title>{attribute(node.name)}</title>"
        f'<rect class="{style}" x="{x:g}" y="{y:g}" width="{width}" height="40" rx="6"/>'
        f'<text class="strong" x="{x + 10:g}" y="{first_line:g}">{name}</text>{second}'
    )
    return f"<g>{inner}</g>" if focus else f'<a href="{attribute(node.href)}">{inner}</a>'


def _arrow(arrow: Arrow, place: Mapping[str, tuple[float, float]], box: int, *, at_child: bool) -> str:
    (x1, y1), (x2, y2) = place[arrow.parent], place[arrow.child]
    x1, y1, y2 = x1 + box, y1 + 20, y2 + 20
    middle = (x1 + x2) / 2
    curve = f"M{x1:g} {y1:g}C{middle:g} {y1:g} {middle:g} {y2:g} {x2 - 6:g} {y2:g}"
    head = f"M{x2:g} {y2:g}l-7 -4v8z"
    # the label sits where the line is flat: at the parent's end, or at the child's where the parent has several children,
    # so that labels do not lie upon each other
    x, y, anchor = (x2 - 10, y2 - 5, "end") if at_child else (x1 + 5, y1 - 5, "start")
    word = attribute(arrow.relation.replace("-", " "))
    label = f'<text class="label" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{word}</text>'
    return f'<path class="edge" d="{curve}"/><path class="head" d="{head}"/>{label}'


# ---------------------------------------------------------------- tree


def tree(branches: Sequence[Branch], *, title: str, unit: str) -> str:
    """Return words as an indented tree, each with a bar for its count.

    Args:
        branches: the top of the tree.
        title: what the picture shows.
        unit: what is counted, such as "model".
    """
    lines = [line for branch in branches for line in _flat(branch, 0)]
    if not lines:
        return ""
    row, left, indent = 22, 8, 22
    most = max(1, *(branch.count for _, branch in lines))
    bar_x = max(left + depth * indent + len(branch.label) * _CHARACTER for depth, branch in lines) + 34
    bar_width = 220
    parts = []
    trunk: dict[int, float] = {}
    for i, (depth, branch) in enumerate(lines):
        x, y = left + depth * indent, i * row + 16
        trunk[depth] = y
        if depth:
            above = x - indent + 4
            parts.append(f'<path class="rule" d="M{above:g} {trunk[depth - 1] + 7:g}V{y - 4:g}H{x - 4:g}"/>')
        length = branch.count / most * bar_width
        parts.append(
            f'<a href="{attribute(branch.href)}"><text x="{x}" y="{y}">{attribute(branch.label)}</text></a>'
            f'<rect class="bar" x="{bar_x:g}" y="{y - 11}" width="{length:.1f}" height="13" rx="2"/>'
            f'<text class="faint" x="{bar_x + length + 6:.1f}" y="{y}">{branch.count}</text>'
        )
    told = ", ".join(f"{branch.label} {branch.count}" for depth, branch in lines if depth == 0)
    counted = f"How many records of the kind {unit} each word holds, everything below it included: {told}."
    return _svg(bar_x + bar_width + 48, len(lines) * row + 10, title, counted, parts)


def _flat(branch: Branch, depth: int) -> list[tuple[int, Branch]]:
    return [(depth, branch), *(line for child in branch.children for line in _flat(child, depth + 1))]


# ---------------------------------------------------------------- shared


def _svg(width: float, height: float, title: str, description: str, parts: Iterable[str]) -> str:
    # on one line: a blank line would end the HTML block in Markdown
    return (
        f'<svg class="medfm-chart" xmlns="http://www.w3.org/2000/svg" role="group" '
        f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}">'
        f"<title>{attribute(title)}</title><desc>{attribute(description)}</desc>"
        f"{''.join(parts)}</svg>"
    )


def _cut(text: str, width: float) -> str:
    """Return a text that fits into a width, with an ellipsis where it was cut; the whole name is in the title."""
    longest = int(width / _CHARACTER)
    return attribute(text if len(text) <= longest else text[: longest - 1].rstrip() + "…")
