"""Every challenge has an article of a few hundred words that cites papers and names records."""

from __future__ import annotations

import re

import pytest

import medfm
from medfm import content
from medfm.publishing.chapters import ARTICLES

CATALOG = medfm.Catalog.load()


def words(text: str) -> int:
    """Count words as readers see them: citations and links to records do not count, comments neither."""
    plain = re.sub(r"<!--.*?-->|\[@[^\]]+\]|^#+ ", "", text, flags=re.DOTALL | re.MULTILINE)
    return len(re.findall(r"\b[\w'-]+\b", plain))


@pytest.mark.parametrize("id", sorted(CATALOG.challenges))
def test_each_challenge_has_an_article_of_300_to_600_words_with_sources(id: str) -> None:
    text = (content.root() / ARTICLES / f"{id}.md").read_text(encoding="utf-8")
    assert 300 <= words(text) <= 600
    assert len(set(re.findall(r"@([\w:.-]+)", text))) >= 4, "papers cited"
    linked = set(re.findall(r"\[\[([a-z0-9-]+)\]\]", text))
    assert linked & CATALOG.models.keys(), "a model that addresses it"
    assert linked & CATALOG.datasets.keys(), "a dataset that addresses it"
    assert not text.lstrip().startswith("# "), "the page has its title already"
