"""CLIP-type models that their authors run with open_clip or transformers, as their cards and READMEs say."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import open_clip
import torch
import transformers
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from tests.parity import harness, vocabularies
from tests.parity.harness import Author

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

CLIP_PREPROCESSING = {"mean": CLIP_MEAN, "std": CLIP_STD}

TEXTS = (
    "An H&amp;E image of a naÃ¯ve TUMOR's border, 12.5 mm wide at T1/T2.",
    "Café-au-lait   macule on the LEFT arm!",
    "no finding",
    "The heart is enlarged; there is fluid in the lung. " * 30,
)
"""What is tokenized: entities, broken encodings, capitals, accents, punctuation, and more than any model reads."""

LABELS = {"edema": ["Edema", "mild interstitial edema"], "none": ["no finding"], "pneumonia": ["PNEUMONIA at left"]}
"""Sentences by label: several for one, which are averaged."""

SKIN = (
    "This is a skin image of {}",
    "This is a skin image of {}.",
    "A skin image of {}.",
    "An image of {}, a skin condition.",
    "{}, a skin disorder, is shown in this image.",
    "The skin lesion depicted is {}.",
    "The skin cancer in this image is {}.",
    "This image depicts {}, a type of skin cancer.",
)
"""OPENAI_SKIN_TEMPLATES of Derm1M's src/open_clip/zero_shot_metadata.py."""

Network = Any


def zero_shot(
    labels: Mapping[str, Sequence[str]],
    templates: Sequence[str],
    tokenize: Callable[[Sequence[str]], Any],
    encode_text: Callable[[Network, Any], Tensor],
    logits: Callable[[Network, Tensor, Tensor], Tensor],
    activation: Callable[[Tensor], Tensor] = lambda x: x.softmax(-1),
) -> Callable[[Network, Tensor], Tensor]:
    """Return a function from the network and an image's vector to probabilities: one averaged vector a label, as CLIP does."""

    def probabilities(network: Network, image: Tensor) -> Tensor:
        columns = []
        for sentences in labels.values():
            texts = encode_text(network, tokenize([template.format(s) for s in sentences for template in templates]))
            mean = (texts / texts.norm(dim=-1, keepdim=True)).mean(dim=0)
            columns.append(mean / mean.norm())
        image = image / image.norm(dim=-1, keepdim=True)
        return activation(logits(network, image, torch.stack(columns, dim=1)))

    return probabilities


# ---------------------------------------------------------------- open_clip


def open_clip_author(
    model_cfg: dict[str, Any],
    preprocess_cfg: Mapping[str, Any] = CLIP_PREPROCESSING,
    *,
    bert: dict[str, Any] | None = None,
    read: Callable[[Path], Image.Image] = Image.open,
    prepare: Callable[[Path], Tensor] | None = None,
    templates: Sequence[str] = ("{}",),
    temperature: float | None = None,
    classify: Callable[[Network, Tensor], Tensor] | None = None,
    prefix: Callable[[str], str] = lambda key: key,
    more: Mapping[str, Tensor] | None = None,
    wrap: Callable[[dict[str, Tensor]], Any] = lambda state: state,
) -> Author:
    """Return how a model on the hub with an open_clip_config.json is run: `create_model`, its transform and its tokenizer.

    Args:
        model_cfg: of open_clip_config.json.
        preprocess_cfg: of open_clip_config.json.
        bert: configuration of the text tower, in a folder of its own so that nothing is downloaded.
        read: where the authors do something to pictures before the transform.
        prepare: where the authors prepare pictures otherwise.
        templates: sentences of the authors' zero-shot classification.
        temperature: what they multiply cosines with, where it is not what was learned.
        classify: where the authors classify otherwise.
        prefix: from open_clip's keys to those in the authors' file.
        more: what their file holds besides.
        wrap: what their file wraps the state in.
    """

    @cache
    def name() -> str:
        folder = Path(tempfile.mkdtemp(prefix="open-clip-"))
        text_cfg = model_cfg["text_cfg"]
        if bert is not None:
            transformers.BertConfig(**bert).save_pretrained(folder)
            vocabularies.word_pieces(folder / "vocab.txt")
            settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
            (folder / "tokenizer_config.json").write_text(json.dumps(settings))
            text_cfg = {**text_cfg, "hf_model_name": str(folder), "hf_tokenizer_name": str(folder)}
        config = {"model_cfg": {**model_cfg, "text_cfg": text_cfg}, "preprocess_cfg": preprocess_cfg}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        return f"local-dir:{folder}"

    def network() -> nn.Module:
        made: nn.Module = open_clip.create_model(
            name(), load_weights=False, pretrained_image=False, pretrained_text=False
        )
        return made

    def prepared(file: Path) -> Tensor:
        size = model_cfg["vision_cfg"].get("image_size", 224)
        settings = open_clip.transform.PreprocessCfg(size=size, **preprocess_cfg)
        tensor: Tensor = open_clip.transform.image_transform_v2(settings, is_train=False)(read(file))
        return tensor[None]

    def tokenize(texts: Sequence[str]) -> Tensor:
        tokens: Tensor = open_clip.get_tokenizer(name())(list(texts))
        return tokens

    def scaled(network: Network, image: Tensor, texts: Tensor) -> Tensor:
        logits: Tensor = (temperature or network.logit_scale.exp()) * image @ texts
        return logits

    probabilities = classify or zero_shot(
        LABELS, templates, tokenize, lambda network, tokens: network.encode_text(tokens), scaled
    )

    def outputs(network: Network, x: Tensor) -> dict[str, Tensor]:
        image = network.encode_image(x)
        return {"embedding": image, "probabilities": probabilities(network, image)}

    def store(state: dict[str, Tensor], path: Path) -> None:
        harness.store(wrap({prefix(key): tensor for key, tensor in state.items()} | dict(more or {})), path)

    files: dict[str, Callable[[Path], None]] = {}
    if bert is not None:
        files["vocabulary"] = vocabularies.word_pieces
    return Author(
        network,
        prepare or prepared,
        outputs,
        libraries=("open_clip_torch", "timm", "transformers", "torch"),
        store=store,
        files=files,
        tokens=lambda texts: {"tokens": tokenize(texts)},
        text_outputs=lambda network, tokens: {"text_embedding": network.encode_text(tokens["tokens"])},
        texts=TEXTS,
        labels=LABELS,
    )


def vit(width: int, patch: int, *, layers: int = 12, size: int = 224) -> dict[str, Any]:
    """Return open_clip's values of a vision transformer."""
    return {"image_size": size, "layers": layers, "width": width, "patch_size": patch}


GPT77 = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12}
BIOMEDBERT = {"vocab_size": 30522}
BERT_TOWER = {"hf_proj_type": "mlp", "hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 256}
TIMM_VIT = {
    "timm_model_name": "vit_base_patch16_224",
    "timm_model_pretrained": False,
    "timm_pool": "",
    "timm_proj": "linear",
    "image_size": 224,
}
POSITIONS = {"text.transformer.embeddings.position_ids": torch.arange(512)[None]}
"""What BERTs stored before transformers 4.31."""


def b(patch: int, **values: Any) -> dict[str, Any]:
    """Return open_clip's ViT-B with CLIP's text transformer."""
    return {"embed_dim": 512, "vision_cfg": vit(768, patch), "text_cfg": GPT77, **values}


def gray(file: Path) -> Image.Image:
    """Return a radiograph as its users have it: three equal channels."""
    return Image.open(file).convert("L").convert("RGB")


def chexzero_input(file: Path) -> Tensor:
    """Return CheXzero's input: data_process.py makes 320 x 320 pixels, zero_shot.py normalizes and then resizes them.

    The authors pin torchvision 0.11, which does not antialias tensors.
    """
    image = gray(file)
    ratio = 320.0 / max(image.size)
    width, height = (int(side * ratio) for side in image.size)
    canvas = Image.new("L", (320, 320))
    canvas.paste(image.resize((width, height), Image.Resampling.LANCZOS), ((320 - width) // 2, (320 - height) // 2))
    x = torch.from_numpy(np.repeat(np.array(canvas, dtype=np.float32)[None], 3, axis=0))
    x = transforms.Normalize((101.48761,) * 3, (83.43944,) * 3)(x)
    x = transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC, antialias=False)(x)
    return x[None]


def against(label_and_denial: tuple[str, str]) -> Callable[[Network, Tensor], Tensor]:
    """Return CheXzero's probabilities: a softmax over the cosines with a label and with its denial (run_softmax_eval)."""

    def probabilities(network: Network, image: Tensor) -> Tensor:
        positive, negative = (
            torch.exp(
                zero_shot(
                    LABELS,
                    (template,),
                    open_clip.get_tokenizer("ViT-B-32"),
                    lambda network, tokens: network.encode_text(tokens),
                    lambda _, image, texts: image @ texts,
                    lambda cosines: cosines,
                )(network, image)
            )
            for template in label_and_denial
        )
        return positive / (positive + negative)

    return probabilities


def echo_frame(file: Path) -> Image.Image:
    """Return a frame as `read_avi` and `crop_and_scale` of EchoCLIP's utils.py give it, in OpenCV's order of channels."""
    frame = np.asarray(Image.open(file).convert("RGB"))[..., ::-1]
    height, width = frame.shape[:2]
    if width > height:
        padding = round((width - height) / 2)
        frame = frame[:, padding:-padding]
    if width < height:
        padding = round((height - width) / 2)
        frame = frame[padding:-padding]
    pad_x, pad_y = int(frame.shape[1] * 0.1), int(frame.shape[0] * 0.1)
    frame = frame[pad_y:-pad_y, pad_x:-pad_x]
    return Image.fromarray(cv2.resize(np.ascontiguousarray(frame), (224, 224), interpolation=cv2.INTER_CUBIC))


# ---------------------------------------------------------------- transformers


def transformers_author(
    network: Callable[[], nn.Module],
    processor: Callable[[], Any],
    tokenize: Callable[[Sequence[str]], Tensor],
    *,
    prepare: Callable[[Path], Tensor] | None = None,
    templates: Sequence[str] = ("{}",),
    activation: Callable[[Tensor], Tensor] = lambda x: x.softmax(-1),
    more: Mapping[str, Tensor] | None = None,
    files: Mapping[str, Callable[[Path], None]] | None = None,
) -> Author:
    """Return how a CLIPModel or SiglipModel is run: its processor, its features, and the logits of calling it."""

    def prepared(file: Path) -> Tensor:
        pixels: Tensor = processor()(images=Image.open(file).convert("RGB"), return_tensors="pt")["pixel_values"]
        return pixels

    def logits(network: Network, image: Tensor, texts: Tensor) -> Tensor:
        found: Tensor = network.logit_scale.exp() * image @ texts
        return found + network.logit_bias if hasattr(network, "logit_bias") else found

    def encode_text(network: Network, tokens: Tensor) -> Tensor:
        found: Tensor = network.get_text_features(input_ids=tokens).pooler_output
        return found

    classify = zero_shot(LABELS, templates, tokenize, encode_text, logits, activation)

    def outputs(network: Network, x: Tensor) -> dict[str, Tensor]:
        image = network.get_image_features(pixel_values=x).pooler_output
        return {"embedding": image, "probabilities": classify(network, image)}

    return Author(
        network,
        prepare or prepared,
        outputs,
        libraries=("transformers", "torch"),
        store=lambda state, path: harness.store(state | dict(more or {}), path),
        files=files or {},
        tokens=lambda texts: {"tokens": tokenize(texts)},
        text_outputs=lambda network, tokens: {"text_embedding": encode_text(network, tokens["tokens"])},
        texts=TEXTS,
        labels=LABELS,
    )


def clip_model(image: dict[str, Any], text: dict[str, Any], width: int) -> Callable[[], nn.Module]:
    """Return a function that builds transformers' CLIP."""
    return lambda: transformers.CLIPModel(
        transformers.CLIPConfig(vision_config=image, text_config=text, projection_dim=width)
    )


def clip_tokens() -> Callable[[Sequence[str]], Tensor]:
    """Return transformers' tokenizer on CLIP's vocabulary, called as plip.py calls it."""

    @cache
    def tokenizer() -> Any:
        folder = Path(tempfile.mkdtemp(prefix="clip-"))
        vocabularies.byte_pairs(folder)
        return transformers.CLIPTokenizer.from_pretrained(folder)

    def tokenize(texts: Sequence[str]) -> Tensor:
        found: Tensor = tokenizer()(
            list(texts), max_length=77, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        return found

    return tokenize


@cache
def siglip_model() -> Path:
    """Return a file spiece.model."""
    path = Path(tempfile.mkdtemp(prefix="siglip-")) / "spiece.model"
    path.write_bytes(vocabularies.sentence_pieces())
    return path


def siglip_tokens(texts: Sequence[str]) -> Tensor:
    """Return what SigLIP's tokenizer gives, called as the card of MedSigLIP calls the processor."""
    tokenizer = transformers.SiglipTokenizer(str(siglip_model()), model_max_length=64)
    found: Tensor = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt").input_ids
    return found


OLD_POSITIONS = {
    "text_model.embeddings.position_ids": torch.arange(77)[None],
    "vision_model.embeddings.position_ids": torch.arange(50)[None],
}
"""What transformers stored before 4.31."""
SIGLIP = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}


def monet_input(file: Path) -> Tensor:
    """Return MONET's input, as `get_transform` in its README."""
    pipeline = transforms.Compose(
        [
            transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            lambda image: image.convert("RGB"),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    tensor: Tensor = pipeline(Image.open(file))
    return tensor[None]


# ---------------------------------------------------------------- the models

AUTHORS: dict[str, Author] = {
    "biomedclip": open_clip_author(
        {"embed_dim": 512, "vision_cfg": TIMM_VIT, "text_cfg": BERT_TOWER},
        bert=BIOMEDBERT,
        templates=("this is a photo of {}",),
        more=POSITIONS,
    ),
    "quiltnet-b-32": open_clip_author(b(32)),
    "quiltnet-b-16": open_clip_author(b(16)),
    "quiltnet-b-16-pmb": open_clip_author(
        {"embed_dim": 512, "vision_cfg": TIMM_VIT, "text_cfg": BERT_TOWER}, bert=BIOMEDBERT, more=POSITIONS
    ),
    # https://huggingface.co/redlessone/DermLIP_ViT-B-16, OPENAI_SKIN_TEMPLATES of the repository's zero_shot_metadata.py
    "dermlip-vit-b-16": open_clip_author(
        b(16),
        templates=SKIN,
        temperature=100.0,  # src/open_clip_train/zero_shot.py
    ),
    "echoclip": open_clip_author(
        {
            "embed_dim": 512,
            "vision_cfg": {
                "timm_model_name": "convnext_base",
                "timm_model_pretrained": False,
                "timm_pool": "",
                "timm_proj": "linear",
                "timm_drop": 0.0,
                "timm_drop_path": 0.1,
                "image_size": 224,
            },
            "text_cfg": GPT77,
        },
        read=echo_frame,
    ),
    "chexzero": open_clip_author(b(32, quick_gelu=True), prepare=chexzero_input, classify=against(("{}", "no {}"))),
    "pubmedclip-vit-b-32": open_clip_author(
        b(32, quick_gelu=True),
        wrap=lambda state: {
            "best_epoch": 3,
            "state_dict": state,
            "optimizer_state_dict": {"state": {}},
            "best_loss": 1.0,
        },
    ),
    **{
        f"unimed-clip-{name}": open_clip_author(
            {
                "embed_dim": width,
                "quick_gelu": True,
                "vision_cfg": vision,
                "text_cfg": {**BERT_TOWER, "hf_proj_type": "mlp"},
            },
            bert=bert,
            prefix=lambda key: (
                "module." + key.replace("text.", "text_encoder.", 1) if key.startswith("text.") else "module." + key
            ),
            wrap=lambda state: {"epoch": 10, "name": "unimed", "state_dict": state},
        )
        for name, width, vision, bert in (
            ("vit-b-16", 512, vit(768, 16), BIOMEDBERT),
            ("vit-l-14-base-text", 768, vit(1024, 14, layers=24, size=336), BIOMEDBERT),
            (
                "vit-l-14-large-text",
                768,
                vit(1024, 14, layers=24, size=336),
                {
                    "vocab_size": 30522,
                    "hidden_size": 1024,
                    "num_hidden_layers": 24,
                    "num_attention_heads": 16,
                    "intermediate_size": 4096,
                },
            ),
        )
    },
    # plip.py of the repository; the image processor that it used computes with Pillow
    "plip": transformers_author(
        clip_model({"patch_size": 32}, {}, 512),
        lambda: transformers.CLIPImageProcessorPil(),
        clip_tokens(),
        more=OLD_POSITIONS,
    ),
    "monet": transformers_author(
        clip_model(
            {
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "patch_size": 14,
            },
            {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
            768,
        ),
        lambda: None,
        lambda texts: open_clip.get_tokenizer("ViT-L-14")(list(texts)),
        prepare=monet_input,
        templates=("This is skin image of {}", "This is dermatology image of {}", "This is image of {}"),
        more=OLD_POSITIONS,
    ),
    "medsiglip-448": transformers_author(
        lambda: transformers.SiglipModel(
            transformers.SiglipConfig(
                vision_config={**SIGLIP, "image_size": 448, "patch_size": 14},
                text_config={**SIGLIP, "vocab_size": 32000, "projection_size": 1152},
            )
        ),
        lambda: transformers.SiglipImageProcessorPil(
            size={"height": 448, "width": 448}, resample=3, image_mean=[0.5] * 3, image_std=[0.5] * 3
        ),
        siglip_tokens,
        files={"tokenizer": lambda path: vocabularies.tokenizer_json(siglip_model(), path)},
    ),
}
