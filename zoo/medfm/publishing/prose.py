"""Small pieces of Markdown and HTML: escaping, links, cells, badges."""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Iterable, Sequence

# What would start markup in the middle of a text; `{` starts attribute lists of Python-Markdown.
_SPECIAL = re.compile(r"([\\`*_\[\]])")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "{": "&#123;", "}": "&#125;"})
_IN_ADDRESSES = str.maketrans({letter: f"%{ord(letter):02X}" for letter in "()<> |"})
_STARTS = re.compile(r"^(\d+)([.)])(?=\s|$)|^([-+#=])(?=\s|$|[-+#=])")


def escape(text: str) -> str:
    r"""Return text that Markdown shows as it is, on one line, in paragraphs and in table cells.

    >>> escape("a_b <c> [d] | {e}")
    'a\\_b &lt;c&gt; \\[d\\] &#124; &#123;e&#125;'
    """
    one_line = " ".join(text.split())
    marked = _SPECIAL.sub(r"\\\1", one_line).translate(_ENTITIES)
    return _STARTS.sub(lambda m: f"{m[1]}\\{m[2]}" if m[1] else f"\\{m[3]}", marked)


def attribute(text: str) -> str:
    """Return text for a quoted HTML attribute or an SVG text, on one line.

    >>> attribute('a "b" & c')
    'a &quot;b&quot; &amp; c'
    """
    return html.escape(" ".join(text.split()), quote=True)


def cell(markdown: str) -> str:
    """Return Markdown that fits into one cell of a table."""
    return " ".join(markdown.split())


def link(label: str, address: str) -> str:
    r"""Return a link; the label is escaped, and letters of the address that would end it are percent-encoded.

    >>> link("a [b]", "https://doi.org/10.1002/(sici)15:4<361")
    '[a \\[b\\]](https://doi.org/10.1002/%28sici%2915:4%3C361)'
    """
    return f"[{escape(label)}]({address.translate(_IN_ADDRESSES)})"


def relative(here: str, there: str) -> str:
    """Return the address of one page as seen from another, both from the root of the pages.

    >>> relative("models/uni2-h.md", "datasets/tcga.md#size")
    '../datasets/tcga.md#size'
    """
    path, mark, anchor = there.partition("#")
    return posixpath.relpath(path, posixpath.dirname(here) or ".") + mark + anchor


def badge(text: str, kind: str, title: str = "") -> str:
    """Return a short word in a box; the word says it all, the color only helps."""
    hint = f' title="{attribute(title)}"' if title else ""
    return f'<span class="badge badge-{attribute(kind)}"{hint}>{html.escape(text)}</span>'


def table(header: Sequence[str], body: Iterable[Sequence[str]], numeric: Iterable[int] = ()) -> str:
    """Return a Markdown table of cells that are Markdown already."""
    right = set(numeric)
    lines = [
        f"| {' | '.join(header)} |",
        f"| {' | '.join('---:' if i in right else '---' for i in range(len(header)))} |",
        *(f"| {' | '.join(cell(c) for c in row)} |" for row in body),
    ]
    return "\n".join(lines)


def bullets(items: Iterable[str]) -> str:
    """Return a Markdown list."""
    return "\n".join(f"- {' '.join(item.split())}" for item in items)


def unsearched(markdown: str, kind: str = "") -> str:
    """Return Markdown that the search leaves out, because it names what has a page of its own; `kind` is its class."""
    name = f' class="{kind}"' if kind else ""
    return f"<div{name} data-search-exclude markdown>\n\n{markdown}\n\n</div>"


def page(
    title: str,
    *sections: str,
    summary: str = "",
    hide: Sequence[str] = (),
    boost: float = 1,
    names: Iterable[str] = (),
    json: str = "",
) -> str:
    """Return a page with the front matter that the renderer reads; empty sections are left out.

    Args:
        title: the title.
        sections: Markdown.
        summary: what search engines show.
        hide: parts of the renderer's frame that the page does without.
        boost: how much the page counts in searches.
        names: other names, which count in searches as much as the title.
        json: the address, from the root of the site, of the same content as JSON.
    """
    front = [f"title: {quoted(title)}"]
    if summary:
        front.append(f"description: {quoted(summary)}")
    if hide:
        front.append(f"hide: [{', '.join(hide)}]")
    if other := list(names):
        front.append(f"tags: [{', '.join(map(quoted, other))}]")  # the renderer's search reads them, nothing shows them
    if json:
        front.append(f"json: {json}")
    if boost != 1:
        front.append(f"search: {{boost: {boost:g}}}")
    body = "\n\n".join(section.strip("\n") for section in sections if section.strip())
    return "---\n" + "\n".join(front) + f"\n---\n\n{body}\n"


def quoted(text: str) -> str:
    """Return a YAML string in double quotes."""
    escaped = " ".join(text.split()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def plural(count: int, noun: str, many: str = "") -> str:
    """Return a number with its noun.

    >>> plural(1, "score"), plural(2, "score"), plural(0, "entry", "entries")
    ('1 score', '2 scores', '0 entries')
    """
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"
