"""What networks can do: the protocols that families implement and `medfm.load` turns into methods.

A `Batch` is what a contract's steps made of some inputs: named tensors whose first axis runs over the inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

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
        """Return probabilities on the prepared grid: (inputs, channels, *grid) float32."""


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
    "segment": (Segmenter,),
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
