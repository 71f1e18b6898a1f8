"""Descriptions of what goes into a model and what comes out: the contract that `medfm.runtime.contract` executes.

A contract is a list of typed steps, run in order from a file to tensors, and a description of the outputs. Only values
that change numbers belong here: `digest` hashes exactly these, so two contracts with one hash behave alike.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Interpolation = Literal["nearest", "nearest-exact", "linear", "cubic", "area"]
Axes = Annotated[
    str, Field(pattern=r"^[RL][AP][SI]$|^[RL][SI][AP]$|^[AP][RL][SI]$|^[AP][SI][RL]$|^[SI][RL][AP]$|^[SI][AP][RL]$")
]


class Part(BaseModel):
    """A frozen piece of a description that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True)


# ---------------------------------------------------------------- what is read


class ReadVolume(Part):
    """Read one 3D volume with its affine (NIfTI)."""

    step: Literal["volume"] = "volume"
    modality: str
    """What the volume must show, in the taxonomy's words."""
    frames: Literal["refuse", "first"] = "refuse"
    """What to do with a fourth axis: refuse it, or take the first frame as the authors' code does."""
    non_finite: Literal["refuse", "zero"] = "refuse"
    """What the authors' code does with NaN: `zero` is applied only when the caller allows it (strict mode refuses)."""


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


class ReadSequence(Part):
    """Read amino-acid or nucleotide sequences, one string each."""

    step: Literal["sequence"] = "sequence"
    alphabet: str
    """Every letter that is allowed."""
    unknown: str = ""
    """The letter that stands for a residue to be predicted; "" where the model has none."""
    longest: int
    """Residues, at most."""


class ReadReceptor(Part):
    """Read T-cell receptors: V gene and CDR3 of the alpha and beta chain."""

    step: Literal["receptor"] = "receptor"
    alphabet: str
    """Every letter that a CDR3 may have."""
    genes: Literal["imgt"] = "imgt"
    """The nomenclature of V genes."""
    species: str
    """The species whose V genes are known."""


# ---------------------------------------------------------------- what is done to it


class Orient(Part):
    """Flip and permute the axes of a volume so that they point as named (nibabel's closest canonical for RAS)."""

    step: Literal["orient"] = "orient"
    axes: Axes = "RAS"


class Resize(Part):
    """Resample to a fixed number of voxels or pixels, whatever the spacing."""

    step: Literal["resize"] = "resize"
    size: tuple[int, ...]
    interpolation: Interpolation


class Window(Part):
    """Map an intensity range to [0, 1] and clip; the range is fixed, or measured as quantiles of the input."""

    step: Literal["window"] = "window"
    low: float | None = None
    high: float | None = None
    quantiles: tuple[float, float] | None = None
    measured_on: Literal["input", "located"] = "input"
    """`located`: use the quantiles that the step `locate` measured on its own view of the volume."""


class Standardize(Part):
    """Subtract the mean and divide by the standard deviation of the input itself, then scale and shift."""

    step: Literal["standardize"] = "standardize"
    axis: Literal["all", "last"] = "all"
    correction: Literal[0, 1] = 0
    """Bessel's correction: 1 divides by n - 1."""
    scale: float = 1.0
    shift: float = 0.0
    constant: Literal["refuse", "zero"] = "refuse"
    """What becomes of an input without variance."""


class Locate(Part):
    """Find the region of interest with a first network and crop the volume to it."""

    step: Literal["locate"] = "locate"
    network: str
    """Name of the network, one of `weights.networks`."""
    input: tuple[Annotated[Resize | Window | Standardize, Field(discriminator="step")], ...]
    """Steps that prepare the first network's view."""
    channel: int
    threshold: float
    component: Literal["largest", "all"]
    occupied: float
    """A slice counts as inside when more than this share of it is foreground."""
    margin: float
    """Share of the box's size that is added on each side."""


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


class Tokenize(Part):
    """Turn letters into token numbers with a vocabulary file that comes with the weights."""

    step: Literal["tokenize"] = "tokenize"
    vocabulary: str
    """Name of the file, one of `weights.files`."""
    begin: str
    end: str
    pad: str
    mask: str


class TokenizeReceptor(Part):
    """Turn CDR loops into tokens with their position, loop length and loop number (SCEPTR)."""

    step: Literal["tokenize-receptor"] = "tokenize-receptor"
    loops: tuple[Literal["CDR1A", "CDR2A", "CDR3A", "CDR1B", "CDR2B", "CDR3B"], ...]
    alphabet: str
    """Residues in the order of their token numbers."""


Step = Annotated[
    ReadVolume
    | ReadSignal
    | ReadSequence
    | ReadReceptor
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


# ---------------------------------------------------------------- what comes out


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


class Output(Part):
    """What the model gives, by capability."""

    embedding: EmbeddingOutput | None = None
    scores: ScoresOutput | None = None
    segmentation: SegmentationOutput | None = None
    events: EventsOutput | None = None
    text: TextOutput | None = None


def digest(steps: tuple[Step, ...], output: Output) -> str:
    """Return the contract's hash: 16 hex digits of the sha256 over every value that can change a number.

    Defaults are part of the hash, so changing a default changes the hash of every contract that relies on it.
    """
    values = {"input": [step.model_dump(mode="json") for step in steps], "output": output.model_dump(mode="json")}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
