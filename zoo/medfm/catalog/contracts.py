"""Descriptions of what goes into a model and what comes out: the contract that `medfm.runtime.contract` executes.

A contract is a list of typed steps, run in order from a file to tensors, and a description of the outputs. Only values
that change numbers belong here: `digest` hashes exactly these, so two contracts with one hash behave alike. The steps stand
in one module for each kind of input.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import Field

from medfm.catalog.image_steps import (
    CropImage,
    CropMiddle,
    Normalize,
    PadImage,
    ReadImage,
    Repeat,
    Rescale,
    ResizeImage,
    Stretch,
    ToTensor,
)
from medfm.catalog.outputs import (
    EmbeddingOutput,
    EventsOutput,
    Output,
    PromptsOutput,
    ScoresOutput,
    SegmentationOutput,
    SlidingWindow,
    TextOutput,
)
from medfm.catalog.signal_steps import Branch, ReadSignal, Scalogram
from medfm.catalog.text_steps import (
    ReadReceptor,
    ReadSequence,
    ReadText,
    Tokenize,
    TokenizeBytePairs,
    TokenizeFile,
    TokenizeReceptor,
    TokenizeSentencePieces,
    TokenizeWordPieces,
)
from medfm.catalog.video_steps import PadFrames, ReadVideo
from medfm.catalog.volume_steps import (
    Axes,
    CropAround,
    CropForeground,
    CropNonzero,
    FitVolume,
    Interpolation,
    Locate,
    Orient,
    PadVolume,
    Permute,
    ReadVolume,
    Resize,
    Spacing,
    Standardize,
    Window,
)

Step = Annotated[
    ReadImage
    | ReadVolume
    | ReadVideo
    | PadFrames
    | ReadSignal
    | ReadText
    | ReadSequence
    | ReadReceptor
    | ResizeImage
    | CropImage
    | CropMiddle
    | Stretch
    | PadImage
    | ToTensor
    | Repeat
    | Normalize
    | Rescale
    | Orient
    | Permute
    | Spacing
    | CropAround
    | CropForeground
    | CropNonzero
    | FitVolume
    | PadVolume
    | Resize
    | Window
    | Standardize
    | Locate
    | Scalogram
    | Branch
    | Tokenize
    | TokenizeReceptor
    | TokenizeBytePairs
    | TokenizeWordPieces
    | TokenizeFile
    | TokenizeSentencePieces,
    Field(discriminator="step"),
]


def digest(steps: tuple[Step, ...], output: Output, text: tuple[Step, ...] = ()) -> str:
    """Return the contract's hash: 16 hex digits of the sha256 over every value that can change a number.

    Defaults are part of the hash, so changing a default changes the hash of every contract that relies on it. What only
    names the input (its modality) and capabilities that a model lacks are not.

    Args:
        steps: what is done to the input.
        output: what comes out.
        text: what is done to texts, for models that read both.
    """
    values = {"input": [_values(step) for step in steps], "output": output.model_dump(mode="json", exclude_none=True)}
    if text:
        values["text"] = [_values(step) for step in text]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _values(step: Step) -> dict[str, Any]:
    return step.model_dump(mode="json", exclude={"modality"}, exclude_none=True)


__all__ = [
    "Axes",
    "Branch",
    "CropAround",
    "CropForeground",
    "CropImage",
    "CropMiddle",
    "CropNonzero",
    "EmbeddingOutput",
    "EventsOutput",
    "FitVolume",
    "Interpolation",
    "Locate",
    "Normalize",
    "Orient",
    "Output",
    "PadFrames",
    "PadImage",
    "PadVolume",
    "Permute",
    "PromptsOutput",
    "ReadImage",
    "ReadReceptor",
    "ReadSequence",
    "ReadSignal",
    "ReadText",
    "ReadVideo",
    "ReadVolume",
    "Repeat",
    "Rescale",
    "Resize",
    "ResizeImage",
    "Scalogram",
    "ScoresOutput",
    "SegmentationOutput",
    "SlidingWindow",
    "Spacing",
    "Standardize",
    "Step",
    "Stretch",
    "TextOutput",
    "ToTensor",
    "Tokenize",
    "TokenizeBytePairs",
    "TokenizeFile",
    "TokenizeReceptor",
    "TokenizeSentencePieces",
    "TokenizeWordPieces",
    "Window",
    "digest",
]
