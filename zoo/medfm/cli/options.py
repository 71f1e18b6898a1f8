"""The options that say what a file does not: the same for every command that reads inputs."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from medfm.cli.arguments import Parser


def add_options(parser: Parser) -> None:
    """Add an option for each field of `medfm.runtime.state.Options`."""
    group = parser.add_argument_group("what the file does not say")
    group.add_argument(
        "--sampling-rate", type=float, metavar="HZ", help="sampling rate of a recording, frames per second of a video"
    )
    group.add_argument(
        "--assume-affine", action="store_true", help="take a NIfTI without orientation to be stored in RAS order"
    )
    group.add_argument("--fill-nan", action="store_true", help="count NaN as 0 where the authors' code does")
    group.add_argument("--um-per-px", type=float, metavar="UM", help="micrometers per pixel of a picture")
    group.add_argument("--frame", type=int, metavar="N", help="which frame of a file that holds several, from 0")
    group.add_argument(
        "--intensity-range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="what becomes black and white, for more than 8 bits",
    )
    group.add_argument(
        "--rescale",
        type=float,
        nargs=2,
        metavar=("SLOPE", "INTERCEPT"),
        help="stored values to HU, for CT whose file lacks them",
    )
    group.add_argument("--drop-alpha", action="store_true", help="use the colors of transparent pixels")
    group.add_argument("--convert-colors", action="store_true", help="convert CMYK and the like with a default profile")
    group.add_argument(
        "--exif", choices=["apply", "ignore"], help="turn a photograph as its EXIF data say, or leave it"
    )
    group.add_argument("--lenient", action="store_true", help="follow the authors' code where the file lacks something")
    parser.add_argument("--offline", action="store_true", help="never open a socket")


def options(given: Namespace) -> dict[str, Any]:
    """Return the options as the runner takes them."""
    return {
        "strict": not given.lenient,
        "sampling_rate": given.sampling_rate,
        "assume_affine": given.assume_affine,
        "fill_nan": given.fill_nan,
        "um_per_px": given.um_per_px,
        "frame": given.frame,
        "intensity_range": tuple(given.intensity_range) if given.intensity_range else None,
        "rescale": tuple(given.rescale) if given.rescale else None,
        "drop_alpha": given.drop_alpha,
        "convert_colors": given.convert_colors,
        "exif": given.exif,
    }
