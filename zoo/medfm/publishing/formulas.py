"""LaTeX formulas as MathML, which browsers show by themselves: no script and no font from another host."""

from __future__ import annotations


def mathml(latex: str, *, display: bool = True) -> str | None:
    """Return a formula as MathML; None where latex2mathml is not installed or does not know a part of it.

    Args:
        latex: the formula without dollar signs.
        display: on a line of its own, rather than within a sentence.
    """
    try:
        from latex2mathml.converter import convert
        from latex2mathml.exceptions import (
            DenominatorNotFoundError,
            ExtraLeftOrMissingRightError,
            MissingEndError,
            MissingSuperScriptOrSubscriptError,
            NoAvailableTokensError,
            NumeratorNotFoundError,
        )
    except ImportError:
        return None
    try:
        found: str = convert(latex, display="block" if display else "inline")
    except (
        DenominatorNotFoundError,
        ExtraLeftOrMissingRightError,
        MissingEndError,
        MissingSuperScriptOrSubscriptError,
        NoAvailableTokensError,
        NumeratorNotFoundError,
        IndexError,
        StopIteration,
    ):
        return None
    return None if "\\" in found else found  # a command that it does not know is passed through as it is
