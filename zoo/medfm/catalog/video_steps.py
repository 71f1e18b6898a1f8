"""Steps of contracts that read videos: tensors (channels, frames, height, width) from the first step on, 3 channels of 8 bits.

Steps on pictures that take tensors do the same to every frame.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medfm.catalog.parts import Part


class ReadVideo(Part):
    """Read some frames of one video (MP4, AVI, MOV, MKV, WebM, multi-frame DICOM), from its beginning."""

    step: Literal["video"] = "video"
    modality: str
    """What the video must show, in the taxonomy's words."""
    frames: Annotated[int, Field(gt=1)]
    """How many frames are taken."""
    stride: Annotated[int, Field(gt=0)] = 1
    """Of how many frames one is taken: together they cover `frames` times `stride` frames."""
    rate: Annotated[float, Field(gt=0)] | None = None
    """Frames per second that the authors count in: a file's own are converted; None: its frames are counted as they come."""
    spread: Literal["stride", "ends"] = "stride"
    """stride: every stride-th frame; ends: evenly from the first to the last frame that is covered."""
    short: Literal["repeat", "leave"]
    """Where the video ends too early: the last frame is repeated, or fewer are given (see `PadFrames`)."""

    @model_validator(mode="after")
    def _spreads_over_more_than_it_takes(self) -> ReadVideo:
        if self.spread == "ends" and self.stride == 1 and self.rate is None:
            raise ValueError("spread has no meaning where every frame is taken")
        return self


class PadFrames(Part):
    """Fill up a clip to a number of frames with a value, at the end."""

    step: Literal["pad-frames"] = "pad-frames"
    frames: Annotated[int, Field(gt=1)]
    value: float = 0.0
