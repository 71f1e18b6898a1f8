"""Options that point at objects: boxes and points in pixels or voxels of the file."""

from __future__ import annotations

from medfm.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from medfm.cli.arguments import Parser


def add_prompts(parser: Parser) -> None:
    """Add the options of models that take prompts."""
    group = parser.add_argument_group("what to outline, for models that take prompts")
    group.add_argument(
        "--box",
        action="append",
        default=[],
        metavar="X0,Y0,X1,Y1",
        help="one object in pixels of the file (volumes: x0,y0,z0,x1,y1,z1); repeat it for more objects",
    )
    group.add_argument(
        "--point",
        action="append",
        default=[],
        metavar="X,Y[,0]",
        help="a point inside the object, or outside with 0 at the end; repeat it for the same object",
    )


def prompts(given: Namespace) -> dict[str, Any]:
    """Return the arguments of `segment` that were given.

    Raises:
        UsageError: something else than numbers.
    """
    found: dict[str, Any] = {}
    if given.box:
        found["boxes"] = [_numbers("--box", text) for text in given.box]
        if len({len(box) for box in found["boxes"]}) > 1:
            raise UsageError("--box: all boxes need equally many numbers")
    if given.point:
        points = [_numbers("--point", text) for text in given.point]
        longest = max(map(len, points))
        # a point without a label lies inside
        found["points"] = [[*point, 1.0] if len(point) == longest - 1 else point for point in points]
        if len({len(point) for point in found["points"]}) > 1:
            raise UsageError("--point: give x,y for a point inside the object and x,y,0 for one outside")
    return found


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} takes numbers with commas between them, not {text!r}") from None
