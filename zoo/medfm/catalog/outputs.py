"""Descriptions of what a model gives, by capability."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medfm.catalog.parts import Part
from medfm.catalog.volume_steps import Side


class EmbeddingOutput(Part):
    """One vector for each input."""

    dimension: int
    pooling: Literal["cls", "mean", "cls+mean", "none"]
    """none: the network itself gives one vector."""
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


Activation = Literal["softmax", "sigmoid", "negated-sigmoid"]


class ScoresOutput(Part):
    """Scores for named labels, in groups of which one label each is true."""

    groups: dict[str, tuple[str, ...]]
    """Group -> labels in the order of the network's outputs; "" stands for an output that was never trained and is left out."""
    activation: Activation | dict[str, Activation]
    """softmax: one label of the group is true; sigmoid: each by itself; negated-sigmoid: the output speaks for the opposite. One
    word for all groups, or one for each."""
    operating_points: dict[str, tuple[Annotated[float, Field(gt=0, lt=1)], ...]] = {}
    """Group -> for each label the probability that shall become 0.5: what lies below and above is stretched linearly
    (torchxrayvision's op_norm)."""

    def labels(self) -> dict[str, tuple[str, ...]]:
        """Return group -> labels that were trained."""
        return {group: tuple(filter(None, labels)) for group, labels in self.groups.items()}

    def activation_of(self, group: str) -> Activation:
        """Return what makes probabilities of a group's outputs."""
        return self.activation[group] if isinstance(self.activation, dict) else self.activation

    @model_validator(mode="after")
    def _has_an_activation_for_each_group(self) -> ScoresOutput:
        if isinstance(self.activation, dict) and self.activation.keys() != self.groups.keys():
            raise ValueError("activation: needs one word for all groups, or one for each of them")
        return self

    @model_validator(mode="after")
    def _has_a_point_for_each_label(self) -> ScoresOutput:
        trained = self.labels()
        for group, points in self.operating_points.items():
            if group not in trained or len(points) != len(trained[group]):
                raise ValueError(f"operating_points: {group} needs one number for each of its labels")
        return self


class SlidingWindow(Part):
    """How a volume that is larger than the network's input is cut into windows, and how their outputs are joined."""

    size: tuple[Side, Side, Side]
    overlap: Annotated[float, Field(ge=0, lt=1)]
    """Share of a window that the next one covers again, at least."""
    rule: Literal["monai", "nnunet"] = "monai"
    """monai: steps of one size, the last window is moved inside; nnunet: steps as equal as can be. `gaussian` differs, too."""
    blend: Literal["gaussian", "constant"]
    """Weight of a voxel in its window: a bell around the middle, or all alike."""
    sigma_scale: Annotated[float, Field(gt=0)] = 0.125
    """Width of the bell, as a share of the window."""
    mirror: bool = False
    """Whether every window is also computed mirrored along all combinations of axes, and averaged."""
    padding: Literal["constant", "replicate"] = "constant"
    """What a volume smaller than the window is padded with: `value`, or its outermost voxels."""
    value: float = 0.0

    @model_validator(mode="after")
    def _has_a_width_where_there_is_a_bell(self) -> SlidingWindow:
        if self.padding == "replicate" and self.value:
            raise ValueError("value has no meaning where padding is replicate")
        if self.blend == "constant" and self.sigma_scale != 0.125:
            raise ValueError("sigma_scale has no meaning where blend is constant")
        return self


class SegmentationOutput(Part):
    """A label for each voxel, on the input's own grid."""

    labels: dict[int, str]
    """Value in the mask -> what it marks. For `argmax` the value is the network's channel; for `each` and `largest` the labels
    stand in the order of the channels."""
    decision: Literal["threshold", "argmax", "each", "largest"] = "threshold"
    """threshold: one channel decides; argmax: the highest channel, 0 being background; each: every label by its threshold, so
    that labels may overlap (the mask then shows the one that is furthest above it); largest: of the labels above their threshold,
    only the one that is furthest above it."""
    channel: int | None = None
    """The one that decides, for `threshold`."""
    threshold: float | tuple[float, ...] | None = None
    """For all labels, or one for each, in their order; of what `activation` gives."""
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    """What is done to the network's output."""
    activated: Literal["windows", "whole"] = "whole"
    """Whether that is done to the output of every window, or after they are joined."""
    window: SlidingWindow | None = None
    """None: the network sees the whole prepared volume."""
    restored: Literal["probabilities", "labels"] = "probabilities"
    """What returns to the input's grid: the network's output, on which is then decided; or the labels."""
    interpolation: Literal["nearest", "nearest-exact", "linear", "nnunet"]
    """How it returns; nnunet: linear, but nearest across slices that are over three times as thick as the voxels are wide."""
    component: Literal["largest", "all"] = "all"
    fill_holes: bool = False

    @model_validator(mode="after")
    def _decides_by_what_it_needs(self) -> SegmentationOutput:
        if (self.channel is None) != (self.decision != "threshold"):
            raise ValueError("channel belongs to the decision `threshold`")
        if (self.threshold is None) != (self.decision == "argmax"):
            raise ValueError("every decision but argmax needs a threshold")
        if isinstance(self.threshold, tuple) and len(self.threshold) != len(self.labels):
            raise ValueError(f"{len(self.threshold)} thresholds for {len(self.labels)} labels")
        if 0 in self.labels or min(self.labels, default=1) < 0 or max(self.labels, default=1) > 65535:
            raise ValueError("values of labels are 1 to 65535; 0 is the background")
        if self.activated == "windows" and (self.window is None or self.activation == "none"):
            raise ValueError("there is no output of windows that could be activated")
        if self.restored == "labels" and self.interpolation == "linear":
            raise ValueError("labels are not interpolated: nearest, nearest-exact or nnunet")
        return self


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
    against: tuple[str, ...] = ()
    """Sentences that deny the label, as the authors use them: each label's probability is then a softmax over the two."""
    temperature: Literal["learned"] | Annotated[float, Field(gt=0)] = "learned"
    """What cosines are multiplied with: what was learned in training, or a number of the authors' evaluation."""
    average: Literal["vectors", "cosines"] = "vectors"
    """What is averaged over the sentences of a label: their vectors, or how well each of them fits the image."""

    @model_validator(mode="after")
    def _against_is_a_softmax(self) -> ZeroShotOutput:
        if self.against and self.activation != "softmax":
            raise ValueError("a label against its denial is a softmax over the two")
        return self


class PromptsOutput(Part):
    """Masks of what prompts point at, on the input's own grid.

    Every object has a box, points, a rough mask, or several of them; the network answers with one mask, or with three from which
    the one with the highest predicted overlap is taken.
    """

    prompts: tuple[Literal["box", "point", "mask"], ...]
    """What the network was trained on; `mask` is the logits of an earlier answer."""
    candidates: Literal["one", "best-of-three", "best-of-three-for-one-point"]
    """Which of the network's answers is taken."""
    coordinates: Literal["each-axis", "longest-side"] = "each-axis"
    """How a place in the file becomes one of the network's: each axis by its own scale, or all by that of the longest side."""
    rounding: Literal["none", "truncate", "nearest"] = "none"
    """How places become whole pixels or voxels of the network's input."""
    through_input: bool = False
    """Whether the logits are first brought to the size of the network's input."""
    values: Literal["logits", "probabilities"] = "logits"
    """What is brought to the file's size and compared with the threshold."""
    threshold: float = 0.0
    clicks: Literal["together", "one-by-one"] = "together"
    """Whether points are shown at once, or each with the answer to those before it (an empty mask before the first)."""

    @model_validator(mode="after")
    def _fits(self) -> PromptsOutput:
        if not self.prompts or self.prompts != tuple(k for k in ("box", "point", "mask") if k in self.prompts):
            raise ValueError("prompts names some of box, point and mask, once each and in this order")
        if "point" not in self.prompts and (self.clicks != "together" or self.candidates.endswith("point")):
            raise ValueError("rules for points have no meaning for a network that takes none")
        return self


class Output(Part):
    """What the model gives, by capability."""

    embedding: EmbeddingOutput | None = None
    text_embedding: EmbeddingOutput | None = None
    zero_shot: ZeroShotOutput | None = None
    scores: ScoresOutput | None = None
    segmentation: SegmentationOutput | None = None
    prompts: PromptsOutput | None = None
    events: EventsOutput | None = None
    text: TextOutput | None = None
