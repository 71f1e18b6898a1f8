"""Steps of contracts that read signals."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medfm.catalog.parts import Part
from medfm.catalog.volume_steps import Standardize


class ReadSignal(Part):
    """Read a recording of one or more channels at a fixed sampling rate."""

    step: Literal["signal"] = "signal"
    modality: str
    """What was recorded, in the taxonomy's words."""
    sampling_rate: float
    """Hz."""
    samples: int
    """Length of one window in samples."""
    channels: int = 1


class Scalogram(Part):
    """Magnitude of the continuous wavelet transform (PyWavelets' names and scales)."""

    step: Literal["scalogram"] = "scalogram"
    wavelet: str
    lowest: float
    highest: float
    count: int
    spacing: Literal["geometric", "linear"] = "geometric"


class Branch(Part):
    """Feed one input along several paths; each gives one named tensor."""

    step: Literal["branch"] = "branch"
    paths: dict[str, tuple[Annotated[Scalogram | Standardize, Field(discriminator="step")], ...]]
