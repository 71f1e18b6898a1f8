"""Steps on texts."""

from __future__ import annotations

from collections.abc import Sequence

from medfm.errors import InputError


def read(source: object) -> Sequence[str]:
    """Return texts, none of them empty.

    Raises:
        InputError: no text, or something that is none.
    """
    texts = [source] if isinstance(source, str) else list(source) if isinstance(source, list | tuple) else None
    if texts is None or not all(isinstance(text, str) for text in texts):
        raise InputError(f"expected a text or a list of texts, found {type(source).__name__}")
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise InputError(f"text {number} is empty")
    return texts
