from __future__ import annotations

from xml.etree import ElementTree

import pytest

from medfm.publishing.charts import Arrow, Branch, Mark, Node, lineage, timeline, tree

SVG = "{http://www.w3.org/2000/svg}"
GROUPS = {"a": "First group", "b": "Second group"}
MARKS = [
    Mark("One & <two>", 2021, "a", "m/1.html"),
    Mark("Other", 2023, "b", "m/2.html"),
    Mark("Third", 2023, "a", "m/3.html"),
]


def drawn(svg: str) -> ElementTree.Element:
    assert "\n" not in svg  # a blank line would end the block in Markdown
    return ElementTree.fromstring(svg)  # noqa: S314  # our own text


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(found.itertext()) for found in root.iter(f"{SVG}text")]


def nodes(*ids: str) -> list[Node]:
    return [Node(id, id.upper(), f"{id}.html") for id in ids]


def places(root: ElementTree.Element) -> dict[str, float]:
    """Name of each box -> its left edge."""
    found = {}
    for group in (*root.iter(f"{SVG}a"), *root.iter(f"{SVG}g")):
        title, box = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        if title is not None and box is not None:
            found[str(title.text)] = float(box.attrib["x"])
    return found


@pytest.mark.parametrize(
    "svg",
    [
        timeline(MARKS, GROUPS),
        lineage("a", nodes("a", "b"), [Arrow("b", "a", "distilled-from")]),
        tree([Branch("A", 1, "a.html")], title="T", unit="model"),
    ],
)
def test_each_picture_is_told_in_words(svg: str) -> None:
    root = drawn(svg)
    assert root[0].tag == f"{SVG}title"
    assert root[0].text
    assert root[1].tag == f"{SVG}desc"
    assert root[1].text


def test_pictures_bring_no_color_of_their_own() -> None:
    svgs = timeline(MARKS, GROUPS) + lineage("a", nodes("a", "b"), [Arrow("b", "a", "x")])
    assert "#" not in svgs
    assert "currentColor" in svgs or 'fill="' not in svgs


def test_the_timeline_shows_each_release_once_under_its_year() -> None:
    root = drawn(timeline(MARKS, GROUPS))
    shown = texts(root)
    assert [text for text in shown if text[:2] == "20"] == ["2021 1", "2022", "2023 2"]
    assert sorted(a.attrib["href"] for a in root.iter(f"{SVG}a")) == ["m/1.html", "m/2.html", "m/3.html"]
    assert "One & <two>" in shown


def test_groups_differ_by_shape_and_not_only_by_color() -> None:
    root = drawn(timeline(MARKS, GROUPS))
    shapes = {g.attrib["class"]: {child.tag for child in g} for g in root.iter(f"{SVG}g")}
    assert shapes["sign sign-0"] != shapes["sign sign-1"]


def test_ancestors_stand_at_the_left_and_descendants_at_the_right() -> None:
    arrows = [
        Arrow("old", "self", "initialized-from"),
        Arrow("older", "old", "distilled-from"),
        Arrow("self", "young", "x"),
    ]
    left = places(drawn(lineage("self", nodes("self", "old", "older", "young"), arrows)))
    assert left["OLDER"] < left["OLD"] < left["SELF"] < left["YOUNG"]


def test_a_longer_way_counts_where_two_lead_to_an_ancestor() -> None:
    arrows = [Arrow("root", "self", "x"), Arrow("root", "middle", "x"), Arrow("middle", "self", "x")]
    left = places(drawn(lineage("self", nodes("self", "middle", "root"), arrows)))
    assert left["ROOT"] < left["MIDDLE"] < left["SELF"]


def test_a_circle_does_not_hang_the_drawing() -> None:
    arrows = [Arrow("a", "b", "x"), Arrow("b", "a", "x")]
    assert set(places(drawn(lineage("a", nodes("a", "b"), arrows)))) == {"A", "B"}


def test_the_lineage_says_each_relation() -> None:
    svg = lineage("a", nodes("a", "b"), [Arrow("b", "a", "distilled-from")])
    assert "A is distilled from B." in svg
    assert "distilled from" in texts(drawn(svg))


def test_a_long_name_is_cut_but_whole_in_its_title() -> None:
    name = "A name that is much longer than the box which it stands in"
    root = drawn(lineage("a", [Node("a", name, "a.html"), *nodes("b")], [Arrow("b", "a", "x")]))
    assert name in places(root)
    assert any(text.endswith("…") and name.startswith(text[:-1]) for text in texts(root))


def test_bars_of_the_tree_are_as_long_as_their_counts() -> None:
    root = drawn(tree([Branch("A", 10, "a.html", (Branch("B", 5, "b.html"),))], title="T", unit="model"))
    long, short = (float(bar.attrib["width"]) for bar in root.iter(f"{SVG}rect"))
    assert short * 2 == pytest.approx(long)
    assert texts(root) == ["A", "10", "B", "5"]


def test_nothing_to_show_is_no_picture() -> None:
    assert timeline([], GROUPS) == ""
    assert tree([], title="T", unit="model") == ""
