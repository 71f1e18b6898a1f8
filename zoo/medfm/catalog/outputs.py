"""Descriptions of what a model gives, by capability."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from medfm.catalog.parts import Part
from medfm.catalog.volume_steps import Interpolation


class EmbeddingOutput(Part):
    """One vector for each input."""

    dimension: int
    pooling: Literal["cls", "mean", "cls+mean", "attention", "none"]
    skip: int = 0
    """Tokens in front of the pooled ones that do not count (class token, registers)."""
    skip_last: int = 0
    """Tokens behind the pooled ones that do not count (separator)."""
    normalized: bool = False
    """Whether each vector has L2 norm 1."""
    distance: Literal["euclidean", "cosine"] = "cosine"
    """The distance that the authors use."""

    @model_validator(mode="after")
    def _skips_what_it_averages(self) -> EmbeddingOutput:
        if (self.skip or self.skip_last) and self.pooling not in ("mean", "cls+mean"):
            raise ValueError(f"skip has no meaning where pooling is {self.pooling}")
        return self


class ScoresOutput(Part):
    """Scores for named labels, in groups of which one label each is true."""

    groups: dict[str, tuple[str, ...]]
    """Group -> labels in the order of the network's outputs."""
    activation: Literal["softmax", "sigmoid"]


class SegmentationOutput(Part):
    """A label for each voxel, on the input's own grid."""

    labels: dict[int, str]
    """Value in the mask -> what it marks."""
    channel: int
    threshold: float
    interpolation: Interpolation
    """How the network's output returns to the input's grid."""
    component: Literal["largest", "all"] = "all"
    fill_holes: bool = False


class EventsOutput(Part):
    """Events in time, each with start, end and confidence."""

    label: str
    cells: int
    """The window is divided into this many cells; each may hold one event's center."""
    longest: float
    """Seconds that a duration output of 1 stands for."""
    confidence: float
    """Events below are dropped."""
    overlap: float
    """Of two events whose intersection over union is at least this, the less confident one is dropped."""


class TextOutput(Part):
    """Text or sequences that the model writes."""

    alphabet: str = ""
    """Every letter that may be written; "" for free text."""


class ZeroShotOutput(Part):
    """How images are classified by labels in words."""

    templates: tuple[str, ...] = ("{}",)
    """Sentences with {} for the label, as the authors use them; their vectors are averaged."""
    activation: Literal["softmax", "sigmoid"] = "softmax"
    """softmax: one label is true; sigmoid: each label by itself."""


class Output(Part):
    """What the model gives, by capability."""

    embedding: EmbeddingOutput | None = None
    text_embedding: EmbeddingOutput | None = None
    zero_shot: ZeroShotOutput | None = None
    scores: ScoresOutput | None = None
    segmentation: SegmentationOutput | None = None
    events: EventsOutput | None = None
    text: TextOutput | None = None
