"""How the code of authors' repositories is run for a recording; it is imported only there, from a checkout."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import packaging.version
import timm
import torch
import torchvision
import transformers
from PIL import Image
from torch import Tensor, nn

from tests.parity import harness, prompt_repositories, video_repositories, vocabularies
from tests.parity.authors.clip_towers import LABELS, SKIN, TEXTS, zero_shot
from tests.parity.authors.two_towers import bert_tokenizer, both
from tests.parity.harness import Author


def module(name: str) -> Any:
    """Import a module of the checkout that `record` has put on the path."""
    return importlib.import_module(name)


# ---------------------------------------------------------------- FLAIR


def flair() -> Author:
    """Return how FLAIR's README runs it: the model does everything itself, from an array and categories to probabilities."""

    @cache
    def package() -> Any:
        found = module("flair.modeling.model")
        bert = transformers.BertConfig(vocab_size=28996, output_hidden_states=True)
        found.AutoModel = SimpleNamespace(from_pretrained=lambda *_, **__: transformers.BertModel(bert))
        found.AutoTokenizer = SimpleNamespace(from_pretrained=lambda _: bert_tokenizer(model_max_length=77))
        return found

    def network() -> nn.Module:
        made: nn.Module = package().FLAIRModel(vision_pretrained=False)
        return made

    def prepare(file: Path) -> Tensor:
        method = package().FLAIRModel.preprocess_image
        x: Tensor = method(SimpleNamespace(image_size=512), np.array(Image.open(file).convert("RGB")))
        return x

    def tokenize(texts: Sequence[str]) -> Any:
        return bert_tokenizer(model_max_length=77)(list(texts), truncation=True, padding=True, return_tensors="pt")

    def encode_text(network: Any, tokens: Any) -> Tensor:
        found: Tensor = network.text_model(tokens["input_ids"], tokens["attention_mask"])
        return found

    def outputs(network: Any, x: Tensor) -> dict[str, Tensor]:
        image = network.vision_model(x)
        package().definitions = {name: list(sentences) for name, sentences in LABELS.items()}
        texts = network.compute_text_embeddings(list(LABELS), domain_knowledge=True)[1]
        return {"embedding": image, "probabilities": network.compute_logits(image, texts).softmax(dim=-1)}

    def store(state: dict[str, Tensor], path: Path) -> None:
        harness.store(state, path)

    return Author(
        network,
        prepare,
        outputs,
        libraries=("transformers", "torchvision", "torch"),
        store=store,
        files={"vocabulary": vocabularies.word_pieces},
        tokens=lambda texts: both(tokenize(texts)),
        text_outputs=lambda network, tokens: {
            "text_embedding": encode_text(
                network, {"input_ids": tokens["tokens"], "attention_mask": tokens["attention"]}
            )
        },
        texts=TEXTS,
        labels={name: [*sentences, name] for name, sentences in LABELS.items()},  # as their method adds the name itself
    )


# ---------------------------------------------------------------- DermLIP with PanDerm


def dermlip_panderm() -> Author:
    """Return how Derm1M's copy of open_clip builds and runs it: CustomTextCLIP whose image tower is replaced by PanDerm."""

    @cache
    def folder() -> Path:
        path = Path(tempfile.mkdtemp(prefix="dermlip-"))
        transformers.BertConfig(vocab_size=30522).save_pretrained(path)
        vocabularies.word_pieces(path / "vocab.txt")
        (path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
        return path

    def network() -> nn.Module:
        vision = {"image_size": 224, "layers": 1, "width": 64, "patch_size": 16}  # replaced below
        text = {"hf_model_name": str(folder()), "hf_model_pretrained": False, "hf_pooler_type": "mean_pooler"}
        if "pkg_resources" not in sys.modules:  # of an older setuptools; asked for `packaging` alone
            sys.modules["pkg_resources"] = SimpleNamespace(packaging=packaging)  # type: ignore[assignment]
        made = module("open_clip.model").CustomTextCLIP(512, vision, {**text, "context_length": 256})
        made.visual = module("open_clip.utils").call_PanDerm_base_visual(None)
        return made  # type: ignore[no-any-return]

    def prepare(file: Path) -> Tensor:
        transform = module("open_clip.transform").image_transform(224, is_train=False)
        tensor: Tensor = transform(Image.open(file))
        return tensor[None]

    def tokenize(texts: Sequence[str]) -> Tensor:
        tokenizer = module("open_clip.tokenizer").HFTokenizer(str(folder()), context_length=256)
        tokenizer.tokenizer.batch_encode_plus = (
            tokenizer.tokenizer.__call__
        )  # as transformers called it before version 5
        found: Tensor = tokenizer(list(texts))
        return found

    def encode_text(network: Any, tokens: Tensor) -> Tensor:
        found: Tensor = network.encode_text(tokens)
        return found

    def outputs(network: Any, x: Tensor) -> dict[str, Tensor]:
        image = network.encode_image(x)
        classify = zero_shot(LABELS, SKIN, tokenize, encode_text, lambda _, image, texts: 100.0 * image @ texts)
        return {"embedding": image, "probabilities": classify(network, image)}

    return Author(
        network,
        prepare,
        outputs,
        libraries=("transformers", "timm", "torchvision", "torch"),
        files={"vocabulary": vocabularies.word_pieces},
        tokens=lambda texts: {"tokens": tokenize(texts)},
        text_outputs=lambda network, tokens: {"text_embedding": encode_text(network, tokens["tokens"])},
        texts=TEXTS,
        labels=LABELS,
    )


# ---------------------------------------------------------------- CONCH


def conch() -> Author:
    """Return how CONCH's notebooks run it: `create_model_from_pretrained`, `tokenize`, `encode_image` and `encode_text`."""

    @cache
    def model() -> tuple[Any, Any]:
        factory = module("conch.open_clip_custom.factory")
        with mock.patch.object(factory, "load_checkpoint"):  # there are no weights: they are filled
            made, preprocess = factory.create_model_from_pretrained("conch_ViT-B-16", "none.bin")
        return made, preprocess

    @cache
    def tokenizer() -> Any:
        path = Path(tempfile.mkdtemp(prefix="conch-")) / "tokenizer.json"
        vocabularies.byte_level(path)
        names = {"bos_token": "<start_of_text>", "eos_token": "<end_of_text>", "pad_token": "<pad>"}
        found = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path), **names)
        found.batch_encode_plus = found.__call__  # as transformers called it before version 5
        return found

    def network() -> nn.Module:
        made: nn.Module = model()[0]
        return made

    def prepare(file: Path) -> Tensor:
        tensor: Tensor = model()[1](Image.open(file))
        return tensor[None]

    def tokenize(texts: Sequence[str]) -> Tensor:
        found: Tensor = module("conch.open_clip_custom").tokenize(texts=list(texts), tokenizer=tokenizer())
        return found

    def outputs(network: Any, x: Tensor) -> dict[str, Tensor]:
        image = network.encode_image(x)
        classify = zero_shot(
            LABELS,
            ("an H&E image of {}",),
            tokenize,
            lambda network, tokens: network.encode_text(tokens),
            lambda network, image, texts: image @ texts * network.logit_scale.exp(),
        )
        return {"embedding": image, "probabilities": classify(network, image)}

    def store(state: dict[str, Tensor], path: Path) -> None:
        harness.store({key: t for key, t in state.items() if not key.startswith("text_decoder.")}, path)

    return Author(
        network,
        prepare,
        outputs,
        libraries=("transformers", "timm", "torchvision", "torch"),
        store=store,  # the decoder is not published
        files={"tokenizer": vocabularies.byte_level},
        tokens=lambda texts: {"tokens": tokenize(texts)},
        text_outputs=lambda network, tokens: {"text_embedding": network.encode_text(tokens["tokens"])},
        texts=TEXTS,
        labels=LABELS,
    )


# ---------------------------------------------------------------- MUSK


def musk() -> Author:
    """Return how MUSK's README and demo.ipynb run it for retrieval and zero-shot classification: with its heads, normalized."""

    @cache
    def tokenizer() -> Any:
        folder = Path(tempfile.mkdtemp(prefix="musk-"))
        vocabularies.xlm_pieces(folder / "sentencepiece.bpe.model")
        return transformers.XLMRobertaTokenizer.from_pretrained(folder)

    def network() -> nn.Module:
        module("musk.modeling")  # registers the architecture
        made: nn.Module = timm.create_model("musk_large_patch16_384")
        return made

    def prepare(file: Path) -> Tensor:
        transform = torchvision.transforms.Compose(
            [
                torchvision.transforms.Resize(384, interpolation=3, antialias=True),
                torchvision.transforms.CenterCrop((384, 384)),
                torchvision.transforms.ToTensor(),
                torchvision.transforms.Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
            ]
        )
        tensor: Tensor = transform(Image.open(file).convert("RGB"))
        return tensor[None]

    def tokenize(texts: Sequence[str]) -> dict[str, Tensor]:
        pairs = [module("musk.utils").xlm_tokenizer(text, tokenizer(), max_len=100) for text in texts]
        padding = torch.tensor([padding for _, padding in pairs])
        return {"tokens": torch.tensor([numbers for numbers, _ in pairs]), "attention": 1 - padding}

    def encode_text(network: Any, tokens: Mapping[str, Tensor]) -> Tensor:
        found: Tensor = network(
            text_description=tokens["tokens"], padding_mask=1 - tokens["attention"], with_head=True, out_norm=True
        )[1]
        return found

    def outputs(network: Any, x: Tensor) -> dict[str, Tensor]:
        image = network(image=x, with_head=True, out_norm=True)[0]
        classify = zero_shot(
            LABELS,
            ("histopathology image of {}",),
            tokenize,
            encode_text,
            lambda _, image, texts: 100.0 * image @ texts,
        )
        return {"embedding": image, "probabilities": classify(network, image)}

    return Author(
        network,
        prepare,
        outputs,
        libraries=("transformers", "timm", "torchvision", "torch"),
        files={"tokenizer": vocabularies.xlm_pieces},
        tokens=tokenize,
        text_outputs=lambda network, tokens: {"text_embedding": encode_text(network, tokens)},
        texts=TEXTS,
        labels=LABELS,
    )


AUTHORS: dict[str, Author] = {
    "flair": flair(),
    "dermlip-panderm-base-w-pubmed-256": dermlip_panderm(),
    "conch": conch(),
    "musk": musk(),
}

REPOSITORIES = {
    "flair": "https://github.com/jusiro/FLAIR",
    "dermlip-panderm-base-w-pubmed-256": "https://github.com/SiyuanYan1/Derm1M",
    "conch": "https://github.com/mahmoodlab/CONCH",
    "musk": "https://github.com/lilab-stanford/MUSK",
}
"""Model -> the repository whose code was run."""

AUTHORS |= prompt_repositories.AUTHORS | video_repositories.AUTHORS
REPOSITORIES |= prompt_repositories.REPOSITORIES | video_repositories.REPOSITORIES
