from __future__ import annotations

import sys
from xml.etree import ElementTree

import pytest

from medfm import Catalog
from medfm.publishing.formulas import mathml


def test_latex_becomes_mathml() -> None:
    found = mathml(r"\frac{2|A \cap B|}{|A| + |B|}")
    assert found is not None
    root = ElementTree.fromstring(found)  # noqa: S314  # our own text
    assert root.get("display") == "block"
    assert root.find(".//{*}mfrac") is not None
    assert (mathml("x", display=False) or "").count('display="inline"') == 1


@pytest.mark.parametrize("latex", [r"\unknown", "_", r"\left( a", r"\begin{matrix} a"])
def test_what_is_not_known_is_left_as_latex_rather_than_shown_wrong(latex: str) -> None:
    assert mathml(latex) is None


def test_every_definition_in_the_catalog_can_be_shown() -> None:
    metrics = [metric for metric in Catalog.load().metrics.values() if metric.definition]
    assert metrics
    for metric in metrics:
        for latex in (metric.definition, *metric.symbols):
            assert mathml(latex or ""), (metric.id, latex)


def test_without_the_library_the_latex_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "latex2mathml.converter", None)
    assert mathml("x") is None
