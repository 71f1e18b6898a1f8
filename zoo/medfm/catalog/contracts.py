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
    Normalize,
    PadImage,
    ReadImage,
    Repeat,
    Rescale,
    ResizeImage,
    ToTensor,
)
from medfm.catalog.outputs import (
    EmbeddingOutput,
    EventsOutput,
    Output,
    ScoresOutput,
    SegmentationOutput,
    TextOutput,
)
from medfm.catalog.signal_steps import Branch, ReadSignal, Scalogram
from medfm.catalog.text_steps import ReadReceptor, ReadSequence, ReadText, Tokenize, TokenizeReceptor
from medfm.catalog.volume_steps import Axes, Interpolation, Locate, Orient, ReadVolume, Resize, Standardize, Window

Step = Annotated[
    ReadImage
    | ReadVolume
    | ReadSignal
    | ReadText
    | ReadSequence
    | ReadReceptor
    | ResizeImage
    | CropImage
    | PadImage
    | ToTensor
    | Repeat
    | Normalize
    | Rescale
    | Orient
    | Resize
    | Window
    | Standardize
    | Locate
    | Scalogram
    | Branch
    | Tokenize
    | TokenizeReceptor,
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
    "CropImage",
    "EmbeddingOutput",
    "EventsOutput",
    "Interpolation",
    "Locate",
    "Normalize",
    "Orient",
    "Output",
    "PadImage",
    "ReadImage",
    "ReadReceptor",
    "ReadSequence",
    "ReadSignal",
    "ReadText",
    "ReadVolume",
    "Repeat",
    "Rescale",
    "Resize",
    "ResizeImage",
    "Scalogram",
    "ScoresOutput",
    "SegmentationOutput",
    "Standardize",
    "Step",
    "TextOutput",
    "ToTensor",
    "Tokenize",
    "TokenizeReceptor",
    "Window",
    "digest",
]
