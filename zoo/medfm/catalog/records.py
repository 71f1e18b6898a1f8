"""The records: what medfm knows of models, datasets, metrics, challenges, competitions, results and samples.

All types are frozen and refuse unknown fields. One YAML file is one record, and its file stem is the record's id. The
rules that look across records (references, words, evidence) are in `medfm.catalog.store`.
"""

from __future__ import annotations

import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from medfm.catalog.contracts import Output, Step, digest
from medfm.catalog.parts import Part
from medfm.catalog.vocabulary import Ref, Word
from medfm.catalog.weights import Origin, PackageOrigin, Sha256, Weights

Id = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
ModelId = Annotated[str, Ref("model")]
DatasetId = Annotated[str, Ref("dataset")]
MetricId = Annotated[str, Ref("metric")]
ChallengeId = Annotated[str, Ref("challenge")]
PaperKey = Annotated[str, Ref("paper")]
LicenseId = Annotated[str, Word("license")]
Url = Annotated[str, Field(pattern=r"^(https?|ftp)://[^\s]+$")]
FieldPath = str

# Fields that identify a record or are this project's own judgment; they carry no evidence.
EDITORIAL = frozenset(
    {
        *("id", "name", "aliases", "summary", "papers", "links", "checked"),
        *("sources", "evidence", "undisclosed", "not_applicable", "derived", "conflicts"),
        *("category", "domain", "data_category", "challenges", "members", "parity", "disagreements"),
    }
)


class Source(Part):
    """A place where facts of this record were read."""

    kind: Literal[
        "paper", "model-card", "data-page", "repository", "documentation", "package", "leaderboard", "third-party"
    ]
    url: Url | None = None
    cite: PaperKey | None = None
    """BibTeX key of the paper."""
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{7,40}$")] | None = None
    """Commit of the repository or the card that was read."""
    version: str | None = None
    """Version of the package, page or paper (v2) that was read."""
    checked: datetime.date

    @model_validator(mode="after")
    def _points_somewhere(self) -> Source:
        if not (self.url or self.cite):
            raise ValueError("a source needs url or cite")
        return self


class Claim(Part):
    """What one source says in a conflict."""

    value: str
    source: str
    """Source id, with the place after a colon where the source is long."""


class Conflict(Part):
    """Two sources disagree: both stand, and the record says which one its value follows."""

    field: FieldPath
    claims: Annotated[tuple[Claim, ...], Field(min_length=2)]
    follows: str | None = None
    """Source id; None where the value is left out."""
    reason: str


class Record(Part):
    """What every record has."""

    kind: ClassVar[str]
    folder: ClassVar[str]

    id: Id
    """The file's stem."""
    name: str
    """The name as its authors write it."""
    aliases: tuple[str, ...] = ()
    """Other names people search for."""
    summary: Annotated[str, Field(max_length=600)]
    """What it is and what it is good for, in this project's own words, at most two sentences."""
    papers: tuple[PaperKey, ...] = ()
    """BibTeX keys, the main paper first."""
    links: dict[
        Literal["homepage", "code", "weights", "data", "paper", "demo", "documentation", "leaderboard"], Url
    ] = {}
    sources: dict[Id, Source] = {}
    """Source id -> where the facts were read."""
    evidence: dict[FieldPath, str] = {}
    """Field path -> source id, with the place after a colon where the source is long. Covers everything below it."""
    undisclosed: tuple[FieldPath, ...] = ()
    """Fields that were looked for in the sources, which do not say."""
    not_applicable: tuple[FieldPath, ...] = ()
    """Fields that have no meaning for this record."""
    derived: dict[FieldPath, str] = {}
    """Field path -> how the value was computed rather than read."""
    conflicts: tuple[Conflict, ...] = ()
    checked: datetime.date
    """The day on which the record was last compared with its sources."""


# ---------------------------------------------------------------- parts


class Size(Part):
    """Counts, each in its own unit."""

    patients: int | None = None
    studies: int | None = None
    images: int | None = None
    volumes: int | None = None
    slices: int | None = None
    slides: int | None = None
    tiles: int | None = None
    videos: int | None = None
    frames: int | None = None
    masks: int | None = None
    pairs: int | None = None
    reports: int | None = None
    documents: int | None = None
    questions: int | None = None
    instructions: int | None = None
    tokens: int | None = None
    words: int | None = None
    sequences: int | None = None
    cells: int | None = None
    recordings: int | None = None
    events: int | None = None
    visits: int | None = None
    hours: float | None = None
    qualifier: Literal["approximate", "at-least", "up-to"] | None = None
    """How the source puts the counts ("over 100,000" is at-least); None: exact."""


class Release(Part):
    """Whether and since when it can be had."""

    status: Literal["open", "gated", "closed", "withdrawn"]
    """Of the weights: open to all, open after accepting terms, closed, or taken back."""
    year: Annotated[int, Field(ge=1990, le=2100)]
    """Of the first public release or, for closed models, of the first paper."""
    superseded_by: ModelId | None = None


class Architecture(Part):
    """What the network is."""

    family: tuple[Annotated[str, Word("architecture")], ...]
    backbone: str | None = None
    """The size or variant in the field's notation, such as ViT-L/16."""


class TrainingData(Part):
    """One dataset that the model saw."""

    dataset: DatasetId
    role: Literal["pretraining", "distillation", "finetuning", "validation"]
    split: str | None = None
    """The split, subset or version where the source names it."""
    amount: Size | None = None


class Compute(Part):
    """What the training took."""

    hardware: str | None = None
    gpu_hours: float | None = None
    days: float | None = None
    details: str | None = None


class Training(Part):
    """How the model came to be."""

    methods: tuple[Annotated[str, Word("method")], ...] = ()
    objectives: tuple[Annotated[str, Word("objective")], ...] = ()
    data: tuple[TrainingData, ...] = ()
    compute: Compute | None = None


class Ancestor(Part):
    """A model that this one was made from."""

    model: ModelId
    relation: Literal["initialized-from", "finetuned-from", "distilled-from", "uses-encoder", "merged-from"]
    details: str | None = None


class ModelLicense(Part):
    """Terms of code, weights and training data apart, as SPDX ids or LicenseRef-... with `terms`."""

    code: LicenseId | None = None
    weights: LicenseId | None = None
    data: LicenseId | None = None
    gate: Literal["none", "form", "approval", "credentialed"] | None = None
    """What a user must do before the download: nothing, accept a form, wait for an approval, or prove a credential."""
    terms: dict[Literal["code", "weights", "data", "gate"], Url] = {}
    """Where the terms stand; required for every LicenseRef-... ."""


class Clinical(Part):
    """What is known of its use on patients' data."""

    intended_use: str | None = None
    external_validation: str | None = None
    prospective: str | None = None
    regulatory: str | None = None
    known_failures: tuple[str, ...] = ()


class Hardware(Part):
    """A measured run."""

    machine: str
    device: Literal["cpu", "cuda", "mps"]
    dtype: Literal["float32", "bfloat16", "float16"]
    input: str
    seconds: float
    peak_memory_mb: float
    command: str
    """The command, in this repository, that measured it."""


class Reference(Part):
    """The authors' code that the wrapper was compared with."""

    distribution: str | None = None
    version: str | None = None
    repository: Url | None = None
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Reference:
        if bool(self.distribution and self.version) == bool(self.repository and self.commit):
            raise ValueError("give distribution and version, or repository and commit")
        return self


class Parity(Part):
    """Whether our output equals that of the authors' own code, preprocessing included."""

    status: Literal["verified", "recorded", "untested"]
    """verified: compared live in CI; recorded: against a stored output of the authors' code."""
    reference: Reference | None = None
    largest_difference: float | None = None
    """The largest absolute difference seen, in the output's own unit."""
    tolerance: float | None = None
    """The test fails above it."""
    dtype: str = "float32"
    versions: dict[str, str] = {}
    """Library -> version with which the difference was measured."""
    keys: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None
    """Fingerprint of the network's parameter names and shapes, in the full architecture (`medfm.runtime.parity.fingerprint`)."""
    reduced: str | None = None
    """Where the full network is too large for the comparison: what was compared instead."""
    test: str | None = None
    """Path of the test in the repository."""

    @model_validator(mode="after")
    def _says_what_was_compared(self) -> Parity:
        if self.status != "untested" and (self.reference is None or self.tolerance is None or self.test is None):
            raise ValueError(f"parity {self.status} needs reference, tolerance and test")
        return self


class Disagreement(Part):
    """Another library runs the model otherwise than its authors say; some do so on purpose, none tells its users."""

    library: str
    """Name of the library, such as TRIDENT."""
    about: Literal[
        "pooling",
        "resize",
        "crop",
        "normalization",
        "resolution",
        "orientation",
        "spacing",
        "intensity",
        "size",
        "weights",
        "precision",
        "tokens",
        "labels",
        "other",
    ]
    theirs: str
    """What the library does."""
    authors: str
    """What the authors say or do, which is what medfm does unless `ours` says otherwise."""
    ours: str | None = None
    """What medfm does, where that is neither."""
    source: str
    """Source id of the library's code, with the place after a colon."""


class Lineage(Part):
    """A dataset that this one was made from or shares patients with."""

    dataset: DatasetId
    relation: Literal["subset-of", "derived-from", "contains", "annotates", "same-cohort-as"]
    split: str | None = None
    details: str | None = None


class Collected(Part):
    """When, where and by whom the data were collected."""

    years: tuple[int, int] | None = None
    """First and last year."""
    countries: tuple[Annotated[str, Field(pattern=r"^[A-Z]{2}$")], ...] = ()
    """ISO 3166-1 alpha-2."""
    institutions: tuple[str, ...] = ()


class Access(Part):
    """What a user must do to get the data."""

    status: Literal["open", "registration", "credentialed", "request", "closed"]
    license: LicenseId | None = None
    terms: Url | None = None
    """Where the terms stand; required for LicenseRef-... ."""
    how: str | None = None
    """The steps, in one sentence."""


# ---------------------------------------------------------------- the kinds


class Model(Record):
    """A foundation model, one of its sizes or versions, or an ancestor of one."""

    kind: ClassVar[str] = "model"
    folder: ClassVar[str] = "models"

    category: Annotated[str, Word("category")]
    """The survey's class of model; which class a model belongs to is this project's reading."""
    domain: Literal["medical", "general"] = "medical"
    members: tuple[ModelId, ...] = ()
    """For the record of a whole family: its sizes and versions."""
    release: Release | None = None
    organizations: tuple[str, ...] = ()
    modalities: tuple[Annotated[str, Word("modality")], ...] = ()
    anatomy: tuple[Annotated[str, Word("anatomy")], ...] = ()
    dimensions: tuple[Annotated[str, Word("dimension")], ...] = ()
    tasks: tuple[Annotated[str, Word("task")], ...] = ()
    architecture: Architecture | None = None
    parameters: Annotated[int, Field(gt=0)] | None = None
    """Number of weights."""
    embedding_dim: Annotated[int, Field(gt=0)] | None = None
    context: Annotated[int, Field(gt=0)] | None = None
    """Longest input in tokens."""
    training: Training | None = None
    derived_from: tuple[Ancestor, ...] = ()
    license: ModelLicense | None = None
    clinical: Clinical | None = None
    challenges: tuple[ChallengeId, ...] = ()
    """The challenges that the model's authors set out to address, in this project's reading."""
    weights: Weights | None = None
    input: tuple[Step, ...] = ()
    text_input: tuple[Step, ...] = ()
    """What is done to texts, for models that read images and texts."""
    output: Output | None = None
    disagreements: tuple[Disagreement, ...] = ()
    """Where other libraries differ from the authors."""
    hardware: tuple[Hardware, ...] = ()
    parity: Parity = Parity(status="untested")

    @property
    def loadable(self) -> bool:
        """Whether `medfm.load` can build and run it."""
        return self.weights is not None and self.weights.family != "none"

    @property
    def contract(self) -> str | None:
        """The hash of the input and output contract; None where there is none."""
        return digest(self.input, self.output, self.text_input) if self.input and self.output else None

    @model_validator(mode="after")
    def _can_be_run_if_it_has_weights(self) -> Model:
        if self.loadable and not (self.input and self.output):
            raise ValueError("a model with loadable weights needs input and output")
        return self


class Dataset(Record):
    """A dataset, public or private, or a part of one that has a name."""

    kind: ClassVar[str] = "dataset"
    folder: ClassVar[str] = "datasets"

    data_category: Annotated[str, Word("data-category")]
    year: Annotated[int, Field(ge=1950, le=2100)] | None = None
    """Of the first release or, for private sets, of the first paper that used it."""
    organizations: tuple[str, ...] = ()
    modalities: tuple[Annotated[str, Word("modality")], ...] = ()
    anatomy: tuple[Annotated[str, Word("anatomy")], ...] = ()
    dimensions: tuple[Annotated[str, Word("dimension")], ...] = ()
    tasks: tuple[Annotated[str, Word("task")], ...] = ()
    size: Size | None = None
    labels: tuple[str, ...] = ()
    """Names of the classes or structures, as the source writes them."""
    label_count: Annotated[int, Field(gt=0)] | None = None
    """How many classes or structures, where naming each would be too long."""
    splits: dict[str, Size] = {}
    """Official split -> its size."""
    access: Access | None = None
    collected: Collected | None = None
    derived_from: tuple[Lineage, ...] = ()


class Metric(Record):
    """A measure of how well a model does."""

    kind: ClassVar[str] = "metric"
    folder: ClassVar[str] = "metrics"

    tasks: tuple[Annotated[str, Word("task")], ...]
    definition: str | None = None
    """LaTeX without dollar signs."""
    symbols: dict[str, str] = {}
    """LaTeX symbol -> what it stands for."""
    range: tuple[float | None, float | None] | None = None
    """Lowest and highest value; None for unbounded."""
    direction: Literal["higher", "lower", "target"] | None = None
    """Which way is better; target: closest to a fixed value."""
    aggregation: str | None = None
    """How values of single cases or classes become one number."""
    pitfalls: tuple[str, ...] = ()
    implementation: tuple[str, ...] = ()
    """Dotted names of functions that compute it, medfm's own first."""


class Challenge(Record):
    """One of the twelve dimensions of challenge and trend. The survey names four of them; the list is this project's."""

    kind: ClassVar[str] = "challenge"
    folder: ClassVar[str] = "challenges"

    number: Annotated[int, Field(ge=1, le=12)]
    named_by: Literal["survey", "project"]
    """Whether the survey's public text names the dimension, or this project does."""
    question: str
    """The problem as one question, in this project's own words."""
    findings: tuple[Finding, ...] = ()
    approaches: tuple[str, ...] = ()
    """Ways that are tried, in this project's own words."""
    open_questions: tuple[str, ...] = ()


class Finding(Part):
    """A number or observation that shows the challenge."""

    claim: str
    source: str
    """Source id, with the place after a colon."""


class Winner(Part):
    """A place in the final ranking."""

    rank: Annotated[int, Field(gt=0)]
    team: str
    method: str | None = None


class Competition(Record):
    """One edition of a public competition."""

    kind: ClassVar[str] = "competition"
    folder: ClassVar[str] = "competitions"

    series: str | None = None
    """The series it belongs to, such as BraTS."""
    year: Annotated[int, Field(ge=1990, le=2100)] | None = None
    organizers: tuple[str, ...] = ()
    venue: str | None = None
    datasets: tuple[DatasetId, ...] = ()
    modalities: tuple[Annotated[str, Word("modality")], ...] = ()
    anatomy: tuple[Annotated[str, Word("anatomy")], ...] = ()
    tasks: tuple[Annotated[str, Word("task")], ...] = ()
    metrics: tuple[MetricId, ...] = ()
    ranking: str | None = None
    """How the ranking is computed."""
    participants: int | None = None
    """Teams that took part in the final ranking."""
    winners: tuple[Winner, ...] = ()


class Protocol(Part):
    """How scores were obtained: two scores are comparable only when this is equal."""

    dataset: DatasetId
    split: str | None = None
    """The split that was tested, as the source names it."""
    task: Annotated[str, Word("task")]
    setting: Annotated[str, Word("setting")]
    details: str | None = None


class Score(Part):
    """One model's value."""

    model: ModelId
    value: float
    """As printed."""
    ci: tuple[float, float] | None = None
    """95 % interval, unless the table's details say otherwise."""
    sd: float | None = None
    n: int | None = None
    """Cases that were tested."""
    details: str | None = None
    """What sets this row apart from others of the same model."""


class Table(Part):
    """Scores that share protocol and metric."""

    protocol: Protocol
    metric: MetricId
    unit: Literal["fraction", "percent", "mm", "pixel", "points", "ratio"]
    """Unit of the values as printed."""
    reported_by: Literal["first-party", "third-party", "measured"]
    """first-party: the authors of the scored models that are marked as theirs in the source; measured: by this project."""
    locator: str
    """Where in the source, such as Table 2."""
    scores: Annotated[tuple[Score, ...], Field(min_length=1)]


class Results(Record):
    """The published scores of one source, or the measured scores of one run."""

    kind: ClassVar[str] = "results"
    folder: ClassVar[str] = "results"

    source: str
    """Source id of everything in `tables`."""
    tables: Annotated[tuple[Table, ...], Field(min_length=1)]


class SystemOrigin(Part):
    """A file that a package of the operating system installs."""

    kind: Literal["system"] = "system"
    package: str
    """Name of the Debian package."""
    version: str
    path: str
    sha256: Sha256


class InlineOrigin(Part):
    """A short text, such as a few published sequences, that stands in the record itself."""

    kind: Literal["inline"] = "inline"
    file: str
    """Name of the file that it makes, such as tcrs.csv."""
    text: str


SampleOrigin = Annotated[PackageOrigin | SystemOrigin | InlineOrigin, Field(discriminator="kind")]


class SampleReference(Part):
    """A second file that says what a good answer for the sample is."""

    role: Literal["mask"]
    origin: SampleOrigin
    made_by: str
    """How the reference came to be; a reference made by a program is no ground truth."""


class Sample(Record):
    """A real input that ships inside a package, or is short enough to be quoted, and can be shown without asking anybody."""

    kind: ClassVar[str] = "sample"
    folder: ClassVar[str] = "samples"

    origin: SampleOrigin
    license: LicenseId | None = None
    modalities: tuple[Annotated[str, Word("modality")], ...] = ()
    anatomy: tuple[Annotated[str, Word("anatomy")], ...] = ()
    sampling_rate: float | None = None
    """Hz, for signals whose file does not say."""
    shows: str | None = None
    """What is to be seen in it."""
    references: tuple[SampleReference, ...] = ()
    models: tuple[ModelId, ...] = ()
    """Models that it suits."""


Challenge.model_rebuild()

KINDS: tuple[type[Record], ...] = (Model, Dataset, Metric, Challenge, Competition, Results, Sample)
"""Every kind of record, in the order in which pages and commands show them."""

__all__ = ["KINDS", "Origin", "Record", *(cls.__name__ for cls in KINDS)]
