from __future__ import annotations

from xml.etree import ElementTree

import pytest

from medfm import Catalog
from medfm.publishing.formulas import FormulaError, mathml


def shape(latex: str) -> str:
    """The formula as nested tags and texts, without rows, which only group."""

    def flat(element: ElementTree.Element) -> str:
        inner = "".join(flat(child) for child in element) + (element.text or "").strip()
        return inner if element.tag in ("math", "semantics", "mrow") else f"{element.tag}({inner})"

    root = ElementTree.fromstring(mathml(latex))  # noqa: S314  # our own text
    return "".join(flat(child) for child in root[0] if child.tag != "annotation")


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"\frac{a}{b}", "mfrac(mi(a)mi(b))"),
        (r"\frac12", "mfrac(mn(1)mn(2))"),
        (r"x_i^2", "msubsup(mi(x)mi(i)mn(2))"),
        (r"x'", "msup(mi(x)mo(′))"),
        (r"\sum_{i=1}^n i", "munderover(mo(∑)mi(i)mo(=)mn(1)mi(n))mi(i)"),
        (r"\max_k k", "munder(mi(max)mi(k))mi(k)"),
        (r"\sqrt[3]{x}", "mroot(mi(x)mn(3))"),
        (r"\hat{y}", "mover(mi(y)mo(^))"),
        (r"\text{if } x", "mtext(if)mi(x)"),
        (r"\mathrm{TP}", "mi(TP)"),
        (r"\left\{ a \right.", "mo({)mi(a)"),
        (r"a < b", "mi(a)mo(<)mi(b)"),
        (
            r"\begin{cases} 1 & a \\ 0 & b \end{cases}",
            "mo({)mtable(mtr(mtd(mn(1))mtd(mi(a)))mtr(mtd(mn(0))mtd(mi(b))))",
        ),
    ],
)
def test_latex_becomes_the_mathml_that_it_means(latex: str, expected: str) -> None:
    assert shape(latex) == expected


@pytest.mark.parametrize("latex", [r"\unknown", r"{a", r"a}", "_", r"\left( a", r"\frac{a", r"\begin{tikzpicture}"])
def test_what_is_not_known_is_refused_rather_than_shown_wrong(latex: str) -> None:
    with pytest.raises(FormulaError):
        mathml(latex)


def test_the_latex_stays_with_the_formula() -> None:
    root = ElementTree.fromstring(mathml(r"a < \frac{b}{c}"))  # noqa: S314  # our own text
    assert root[0][-1].text == r"a < \frac{b}{c}"


def test_every_definition_in_the_catalog_can_be_shown() -> None:
    metrics = [metric for metric in Catalog.load().metrics.values() if metric.definition]
    assert metrics
    for metric in metrics:
        for latex in (metric.definition, *metric.symbols):
            assert latex
            ElementTree.fromstring(mathml(latex))  # noqa: S314  # our own text
