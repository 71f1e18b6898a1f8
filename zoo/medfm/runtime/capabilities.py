"""What networks can do: the protocols that families implement and `medfm.load` turns into methods.

A `Batch` is what a contract's steps made of some inputs: named tensors whose first axis runs over the inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    Batch = Mapping[str, Tensor]


@runtime_checkable
class Encoder(Protocol):
    """Turns inputs into vectors."""

    def encode(self, batch: Batch) -> Tensor:
        """Return the last hidden states (inputs, tokens, width), or vectors (inputs, width) where the network pools, float32."""


@runtime_checkable
class TextEncoder(Protocol):
    """Turns texts into vectors, in a space of their own or that of images."""

    def encode_text(self, batch: Batch) -> Tensor:
        """Return hidden states (texts, tokens, width), or vectors (texts, width) where the network pools, float32."""


@runtime_checkable
class Matcher(Encoder, TextEncoder, Protocol):
    """Compares images with texts."""

    def compare(self, images: Tensor, texts: Tensor) -> Tensor:
        """Return logits (images, texts) of normalized vectors, scaled as in training."""


@runtime_checkable
class Classifier(Protocol):
    """Scores a fixed set of labels."""

    def score(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return logits for each group of labels: (inputs, labels) float32."""


@runtime_checkable
class Segmenter(Protocol):
    """Labels voxels or pixels."""

    def segment(self, batch: Batch) -> Tensor:
        """Return the network's output on the prepared grid, or on a window of it: (inputs, channels, *grid) float32."""


@dataclass(frozen=True)
class Prompts:
    """What points at n objects of one image; all have prompts of the same kinds.

    Attributes:
        boxes: (n, 4) x0, y0, x1, y1 in pixels of the network's input, or None.
        points: (n, k, axes) in pixels or voxels of the network's input, or None.
        labels: (n, k) int64, 1 for points inside the object and 0 for points outside; None without points.
        masks: (n, 1, *grid) logits that the network gave before, or None.
    """

    boxes: Tensor | None = None
    points: Tensor | None = None
    labels: Tensor | None = None
    masks: Tensor | None = None


@runtime_checkable
class PromptSegmenter(Protocol):
    """Outlines what prompts point at; the image is looked at once for many prompts."""

    def look(self, batch: Batch) -> Any:
        """Return the embedding of one image, in the form that `outline` takes."""

    def outline(self, seen: Any, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Return logits (n, candidates, *grid) and predicted overlaps (n, candidates), both float32.

        The first candidate is the network's single answer, the others part an ambiguous prompt.
        """


@runtime_checkable
class EventDetector(Protocol):
    """Finds events in time."""

    def detect(self, batch: Batch) -> Tensor:
        """Return one possible event a cell: (inputs, cells, 3) with confidence, offset and duration in [0, 1]."""


@runtime_checkable
class Generator(Protocol):
    """Writes text or sequences."""

    def complete(self, batch: Batch) -> Tensor:
        """Return token numbers with the masked ones filled in: (inputs, tokens) int64."""


@runtime_checkable
class Localizer(Protocol):
    """Has networks that the contract's steps call before the main one."""

    def locate(self, network: str, view: Tensor) -> Tensor:
        """Return the named network's output for one view: (channels, *grid) float32."""


# Method of `medfm.load(...)` -> protocols of which the network must implement one.
METHODS: dict[str, tuple[type, ...]] = {
    "embed": (Encoder,),
    "embed_text": (TextEncoder,),
    "classify": (Classifier, Matcher),
    "retrieve": (Matcher,),
    "segment": (Segmenter, PromptSegmenter),
    "detect": (EventDetector,),
    "generate": (Generator,),
}

# Tasks of the taxonomy (each with everything below it) that a method serves. The contract tests hold records to it.
TASKS: dict[str, tuple[str, ...]] = {
    "embed": ("representation", "retrieval"),
    "classify": ("classification",),
    "retrieve": ("image-text-retrieval",),
    "segment": ("segmentation",),
    "detect": ("detection",),
    "generate": ("generation",),
}


def methods(network: object) -> tuple[str, ...]:
    """Return the methods that a network supports, in a fixed order."""
    return tuple(name for name, protocols in METHODS.items() if isinstance(network, protocols))
