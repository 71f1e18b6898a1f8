"""Descriptions of weights: which family builds the network, and where the bytes lie. Nothing here imports torch.

A new way of building a network is one class here (a member of `Weights`), one module of the same name in
`medfm.runtime.families`, and nothing else; a test holds the two sets of names equal.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from medfm.catalog.parts import Part

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


# ---------------------------------------------------------------- where the bytes lie


class WeightFile(Part):
    """One file of a hub repository or of a package."""

    path: str
    """Path inside the repository or the wheel; in a hub's repository also the https address of a file that lies elsewhere, such
    as the vocabulary of the model that a tower was made from."""
    sha256: Sha256 | None = None
    """None where it is not known yet: such a file is used only when the caller accepts it."""
    bytes: int | None = None
    member: str | None = None
    """Path inside this file, where it is a zip archive that holds the weights."""


class HubOrigin(Part):
    """Files in a repository of a model hub, pinned to one commit."""

    kind: Literal["hub"] = "hub"
    repository: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Revision | None = None
    """40 hex digits; None where the commit could not be read yet."""
    files: dict[str, WeightFile] = {}
    """Role -> file; the families say which roles they need."""


class PackageOrigin(Part):
    """Files that ship inside the wheel of a registry package, which is opened as a zip and never imported."""

    kind: Literal["package"] = "package"
    distribution: str
    version: str
    files: dict[str, WeightFile]
    """Role -> file; the families say which roles they need."""


class UrlOrigin(Part):
    """Files behind plain addresses."""

    kind: Literal["url"] = "url"
    files: dict[str, WeightFile]
    """Role -> file, `path` being the https address."""


class LocalOrigin(Part):
    """Files on this machine, named by the user (`load(..., weights=...)`)."""

    kind: Literal["file"] = "file"
    files: dict[str, WeightFile]


Origin = Annotated[HubOrigin | PackageOrigin | UrlOrigin | LocalOrigin, Field(discriminator="kind")]


# ---------------------------------------------------------------- how a checkpoint's keys become the network's


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression ({error})") from None
    return text


def _rule(rule: tuple[str, str]) -> tuple[str, str]:
    pattern, replacement = rule
    try:
        re.sub(pattern, replacement, "")
    except (re.error, IndexError) as error:
        raise ValueError(f"{replacement!r} cannot replace {pattern!r} ({error})") from None
    return rule


Pattern = Annotated[str, AfterValidator(_pattern)]
Reason = Annotated[str, Field(min_length=3)]


class Keys(Part):
    """How the keys of a checkpoint become those of the network; a key that no rule explains must fit exactly."""

    unwrap: tuple[str, ...] = ()
    """The path to the state inside a checkpoint that holds more (`[model]`, `[student, backbone]`), outermost entry first;
    without it, an entry `state_dict` or `model` is opened where there is one."""
    whole_module: bool = False
    """The file holds a whole pickled network: its parameters and buffers are read as data, nothing of it is made or executed."""
    rename: tuple[Annotated[tuple[Pattern, str], AfterValidator(_rule)], ...] = ()
    """Regular expression and replacement, applied to every key in this order."""
    drop: dict[Pattern, Reason] = {}
    """Keys that the network does not need (whole renamed keys, as regular expressions) -> why."""
    absent: dict[Pattern, Reason] = {}
    """Keys of the network that the checkpoint does not have and that keep their initial value -> why."""


# ---------------------------------------------------------------- how the network is built


class LinkNet3d(Part):
    """Two LinkNet-type 3D networks, the first finding the box that the second segments (deepbet)."""

    family: Literal["linknet3d"] = "linknet3d"
    origin: Origin
    networks: dict[str, str]
    """Network name -> role of its file."""


class OnnxDetector(Part):
    """A network that is stored as an ONNX graph and gives events on a time axis."""

    family: Literal["onnx_detector"] = "onnx_detector"
    origin: Origin
    inputs: tuple[str, ...]
    """The graph's inputs, in the contract's names."""
    outputs: dict[str, str]
    """What each of the graph's outputs holds: `events` (cells x 3) or `mask` (samples x 1)."""


class ReceptorTransformer(Part):
    """A small transformer encoder over the CDR loops of T-cell receptors (SCEPTR)."""

    family: Literal["receptor_transformer"] = "receptor_transformer"
    origin: Origin
    layers: int
    width: int
    heads: int
    feedforward: int


class BertSequence(Part):
    """A BERT over residues with a masked-residue head and linear heads on the pooled token (AntiBERTy)."""

    family: Literal["bert_sequence"] = "bert_sequence"
    origin: Origin
    layers: int
    width: int
    heads: int
    feedforward: int
    positions: int
    vocabulary: int
    scored: dict[str, int] = {}
    """Linear heads: name -> number of labels."""


Argument = bool | int | float | str | tuple[int, ...] | tuple[float, ...] | None
"""A value that a library's constructor takes; classes are given by name, apart."""


class TimmVision(Part):
    """An image encoder that timm builds."""

    family: Literal["timm_vision"] = "timm_vision"
    origin: Origin
    keys: Keys = Keys()
    architecture: str
    """timm's name, such as vit_large_patch16_224."""
    arguments: dict[str, Argument] = {}
    """What the authors pass to `timm.create_model`, without `num_classes` (always 0)."""
    layers: dict[
        Literal["mlp_layer", "act_layer", "norm_layer", "embed_layer"],
        Literal[
            "SwiGLUPacked",
            "SwiGLU",
            "GluMlp",
            "Mlp",
            "SiLU",
            "GELU",
            "LayerNorm",
            "RmsNorm",
            "PatchEmbed",
            "ConvStem",
        ],
    ] = {}
    """Arguments that are classes, by name: of timm's layers, of torch.nn, or medfm's `ConvStem` (CTransPath)."""
    convert: Literal["timm"] | None = None
    """`timm`: turn keys with timm's own conversion for the architecture (DINOv2's original keys, older versions of timm)."""
    features: Literal["tokens", "pooled"] = "tokens"
    """All tokens, to be pooled as `output` says; or what timm's head pools, normalization included."""


class TransformersVision(Part):
    """An image encoder that transformers builds, from the values of its config.json."""

    family: Literal["transformers_vision"] = "transformers_vision"
    origin: Origin
    keys: Keys = Keys()
    """Applied before transformers turns the names of older versions into its own, as its `from_pretrained` does."""
    architecture: Literal["vit", "dinov2", "dinov2_with_registers"]
    """transformers' `model_type`."""
    config: dict[str, Argument] = {}
    """What config.json says beyond the library's defaults."""


class Bert(Part):
    """The sizes of a BERT that transformers builds."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    feedforward: int = 3072
    vocabulary: int
    positions: int = 512
    pooler: bool = False
    """Whether it has the layer that BERT puts behind its first token."""


class OpenClip(Part):
    """An image and a text tower that open_clip builds."""

    family: Literal["open_clip"] = "open_clip"
    origin: Origin
    keys: Keys = Keys()
    width: int
    """Of the vectors that both towers give (open_clip's `embed_dim`)."""
    image: dict[str, Argument]
    """open_clip's `vision_cfg`."""
    text: dict[str, Argument] = {}
    """open_clip's `text_cfg`, without names of models on a hub."""
    bert: Bert | None = None
    """The text tower, where it is a BERT."""
    quick_gelu: bool = False


class TransformersClip(Part):
    """An image and a text tower that transformers builds."""

    family: Literal["transformers_clip"] = "transformers_clip"
    origin: Origin
    keys: Keys = Keys()
    architecture: Literal["clip", "siglip"]
    image: dict[str, Argument]
    """What `vision_config` says beyond the library's defaults."""
    text: dict[str, Argument]
    """What `text_config` says beyond the library's defaults."""
    width: int | None = None
    """Of the vectors that CLIP's projections give."""


class TorchvisionCnn(Part):
    """A convolutional network of pictures that torchvision builds, with or without a last layer that scores labels."""

    family: Literal["torchvision_cnn"] = "torchvision_cnn"
    origin: Origin
    keys: Keys = Keys()
    architecture: Literal["resnet50", "densenet121"]
    channels: Literal[1, 3] = 3
    scored: dict[str, int] = {}
    """The last layer: group -> number of its outputs, one group after the other; {} for a network without it."""
    keras: bool = False
    """Whether it is built as in Keras: the stride of a stage in its first 1x1 convolution, biases, an epsilon of 1.001e-5."""


class SamVit(Part):
    """SAM's image encoder: a vision transformer with windows."""

    kind: Literal["vit"] = "vit"
    width: int
    depth: int
    heads: int
    everywhere: tuple[int, ...]
    """Blocks whose attention sees the whole picture, by number."""
    window: int = 14
    """Side of a window in patches of 16 pixels."""
    adapters: bool = False
    """Whether every block has an adapter beside its perceptron (SAM-Med2D)."""
    positions: bool = True
    """Whether absolute positions are added to the patches."""
    neck: bool = True
    """Whether convolutions bring the transformer's output to the width of the prompts."""


class SamTinyVit(Part):
    """A TinyViT as image encoder."""

    kind: Literal["tiny-vit"] = "tiny-vit"
    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    windows: tuple[int, int, int, int]


class Sam(Part):
    """An image encoder and a small decoder that turns prompts into masks: Segment Anything and its relatives."""

    family: Literal["sam"] = "sam"
    origin: Origin
    keys: Keys = Keys()
    dimensions: Literal[2, 3] = 2
    side: Annotated[int, Field(gt=0, multiple_of=16)]
    """Pixels or voxels of the network's input along each axis."""
    channels: int = 3
    width: int = 256
    """Channels of the image embedding and of the prompts."""
    encoder: Annotated[SamVit | SamTinyVit, Field(discriminator="kind")]
    decoder: bool = True
    """False where the file holds the image encoder alone."""

    @model_validator(mode="after")
    def _decodes_what_it_encodes(self) -> Sam:
        if self.decoder and isinstance(self.encoder, SamVit) and not self.encoder.neck:
            raise ValueError("a decoder needs the encoder's neck")
        return self


class Head(Part):
    """Linear layers that bring a tower's vector to the width that both towers share, with GELU between them."""

    widths: tuple[int, ...]
    """What goes in, and what each layer gives."""
    bias: bool = True
    normalized: bool = False
    """Whether vectors get L2 norm 1 before the first layer."""


class ImageTower(Part):
    """An image network of a library, without its classifier."""

    library: Literal["timm", "torchvision", "transformers"]
    architecture: str
    """As the library names it; of transformers the type of its configuration, such as swin."""
    arguments: dict[str, Argument] = {}
    """What differs from the library's defaults."""
    pooling: Literal["own", "patches"] = "own"
    """own: as the network pools; patches: the mean of the patch tokens, which passes the last normalization again (PanDerm)."""
    head: Head | None = None


class TextTower(Part):
    """A BERT, what is taken of its tokens, and what follows."""

    bert: Bert
    pooling: Literal["pooler", "mean", "layers"]
    """pooler: BERT's own layer on its first token; mean: of all tokens that are no padding; layers: the mean of all tokens,
    padding too, of layers 1, 2 and the last (MedCLIP)."""
    head: Head | None = None


class TwoTower(Part):
    """An image and a text tower of different libraries, joined by linear layers."""

    family: Literal["two_tower"] = "two_tower"
    origin: Origin
    keys: Keys = Keys()
    """To the network's names: image, image_head, text, text_head, logit_scale."""
    image: ImageTower
    text: TextTower
    scale: tuple[float, float] | None = None
    """Limits that the logarithm of the temperature is kept in."""


class Biovil(Part):
    """BioViL's ResNet-50 and CXR-BERT; BioViL-T's image encoder for images without a prior one."""

    family: Literal["biovil"] = "biovil"
    origin: Origin
    keys: Keys = Keys()
    """Of the image file."""
    text_keys: Keys = Keys()
    """Of the text file."""
    width: int
    """Of the vectors that both towers give."""
    static: int
    """Channels that each patch has before the prior image's are put behind it."""
    bert: Bert


class Coca(Part):
    """The two towers of a CoCa, without its decoder: attention pools the image's tokens, a class token stands behind the text."""

    family: Literal["coca"] = "coca"
    origin: Origin
    keys: Keys = Keys()
    """To the network's names: trunk, pool, norm, projection, text, logit_scale."""
    width: int
    """Of the vectors that both towers give."""
    trunk: str
    """timm's name of the image encoder."""
    arguments: dict[str, Argument] = {}
    """What differs from timm's defaults."""
    heads: int
    """Of the attention that pools."""
    text: dict[str, Argument]
    """What open_clip's text transformer takes."""


class Beit3(Part):
    """Two BEiT-3 encoders, one for images and one for texts, that share nothing (MUSK)."""

    family: Literal["beit3"] = "beit3"
    origin: Origin
    keys: Keys = Keys()
    """To the network's names: image and text (each embed, positions, layers, norm, head), logit_scale."""
    layers: int
    width: int
    heads: int
    feedforward: int
    side: int
    """Of the image in pixels."""
    patch: int
    vocabulary: int
    positions: int
    """Rows of the text's table of positions; the first two are not used."""


class TorchvisionVideo(Part):
    """An encoder of clips that torchvision builds, with a linear layer of another width at its end."""

    family: Literal["torchvision_video"] = "torchvision_video"
    origin: Origin
    keys: Keys = Keys()
    architecture: Literal["mvit_v2_s"]
    width: int
    """Of the vectors."""


class FrameTransformer(Part):
    """A convolutional network on every frame of a clip, a transformer over the frames, and linear heads (PanEcho)."""

    family: Literal["frame_transformer"] = "frame_transformer"
    origin: Origin
    keys: Keys = Keys()
    architecture: Literal["convnext_tiny"]
    """torchvision's name of the network that sees the frames."""
    frames: int
    """The longest clip."""
    layers: int
    heads: int
    """Heads of attention; the transformer is as wide as the frames' vectors."""
    scored: dict[str, int]
    """Linear heads: name -> number of outputs."""


class TimeSformer(Part):
    """A vision transformer whose attention is divided over time and space (Endo-FM)."""

    family: Literal["timesformer"] = "timesformer"
    origin: Origin
    keys: Keys = Keys()
    size: int
    """Side of the frames in pixels."""
    patch: int
    frames: int
    layers: int
    width: int
    heads: int


class MonaiNetwork(Part):
    """A network for volumes that MONAI builds: it gives a vector, labels voxels, or both."""

    family: Literal["monai_network"] = "monai_network"
    origin: Origin
    keys: Keys = Keys()
    network: Literal["SwinUNETR", "SwinTransformer", "SegResNet", "SegResEncoder", "resnet50"]
    """MONAI's name of the class or function."""
    arguments: dict[str, Argument] = {}
    """What the authors pass to it."""
    without: tuple[str, ...] = ()
    """Parts, by name, that the checkpoint does not have and a vector does not need."""
    vectors: tuple[str, ...] = ()
    """Parts whose outputs, averaged over the grid and side by side, are the vector; `output`: what the network itself gives, the
    last of a list. () where it gives none."""
    segments: bool = False
    """Whether its output labels voxels."""


class StuNet(Part):
    """A residual 3D U-Net whose size is depth and width, as nnU-Net trains it (STU-Net)."""

    family: Literal["stu_net"] = "stu_net"
    origin: Origin
    keys: Keys = Keys()
    depth: int
    """Blocks at each of the six resolutions."""
    width: int
    """Channels at the finest resolution; the next have 2, 4, 8, 16 and 16 times as many."""
    classes: int
    """Background included."""


class Vista3d(Part):
    """MONAI's VISTA3D, asked for a fixed list of classes."""

    family: Literal["vista3d"] = "vista3d"
    origin: Origin
    keys: Keys = Keys()
    classes: tuple[int, ...]
    """Numbers of the classes in VISTA3D's own list, in the order of the channels."""


class Unsupported(Part):
    """Open weights that medfm does not build yet; the record says where they lie."""

    family: Literal["none"] = "none"
    origin: Origin
    library: str | None = None
    """The library that the authors load them with."""


Weights = Annotated[
    LinkNet3d
    | OnnxDetector
    | ReceptorTransformer
    | BertSequence
    | TimmVision
    | TransformersVision
    | OpenClip
    | TransformersClip
    | TwoTower
    | Biovil
    | Coca
    | Beit3
    | TorchvisionCnn
    | TorchvisionVideo
    | FrameTransformer
    | TimeSformer
    | Sam
    | MonaiNetwork
    | StuNet
    | Vista3d
    | Unsupported,
    Field(discriminator="family"),
]


def families() -> list[str]:
    """Return the names of all families that can be built, sorted.

    >>> "linknet3d" in families()
    True
    """
    classes = get_args(get_args(Weights)[0])
    return sorted(name for name in (cls.model_fields["family"].default for cls in classes) if name != "none")
