"""Image-text models with towers of their own, run with their authors' packages, or as their READMEs compose the libraries."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import timm
import torch
import torchvision
import transformers
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision import transforms

from tests.parity import packages, vocabularies
from tests.parity.authors.clip_towers import LABELS, TEXTS, zero_shot
from tests.parity.harness import Author

MEDCLIP = "medclip==0.0.3"
HI_ML = "hi-ml-multimodal==0.2.2"


@cache
def bert_tokenizer(**settings: Any) -> Any:
    """Return transformers' tokenizer on a small vocabulary."""
    path = Path(tempfile.mkdtemp(prefix="bert-")) / "vocab.txt"
    vocabularies.word_pieces(path)
    return transformers.BertTokenizer.from_pretrained(path.parent, do_lower_case=True, **settings)


def both(found: Any) -> dict[str, Tensor]:
    """Return the numbers and the mask of a tokenizer."""
    return {"tokens": found["input_ids"], "attention": found["attention_mask"]}


# ---------------------------------------------------------------- MedCLIP


def medclip(tower: str) -> Author:
    """Return how medclip's README runs it: its model classes, its processor's steps, and its PromptClassifier.

    The package asks hubs for the towers it begins with; here they are made from their configurations. Its feature extractor
    needs a transformers of 2022: `pad_img` and what that one did (resize with Pillow, divide by 255, normalize) are written out.
    """

    @cache
    def package() -> Any:
        module: Any = packages.module(MEDCLIP, "medclip.modeling_medclip")
        configurations = {
            "emilyalsentzer/Bio_ClinicalBERT": transformers.BertConfig(vocab_size=28996, output_hidden_states=True),
            "microsoft/swin-tiny-patch4-window7-224": transformers.SwinConfig(),
        }
        made = SimpleNamespace(
            from_pretrained=lambda name, **_: transformers.AutoModel.from_config(configurations[name])
        )
        module.AutoModel, module.AutoTokenizer = made, SimpleNamespace(from_pretrained=lambda _: None)
        resnet = SimpleNamespace(resnet50=lambda **_: torchvision.models.resnet50(weights=None))
        module.torchvision = SimpleNamespace(models=resnet)
        return module

    def prepare(file: Path) -> Tensor:
        image = Image.open(file)
        size = max(224, *image.size)
        canvas = Image.new("L", (size, size), 0)
        canvas.paste(image, (int((size - image.width) / 2), int((size - image.height) / 2)))
        pixels = np.array(canvas.resize((224, 224), Image.Resampling.BICUBIC)).astype(np.float32) / 255
        x = torch.from_numpy((pixels - np.float32(0.5862785803043838)) / np.float32(0.27950088968644304))
        return x[None, None].repeat(1, 3, 1, 1)  # the vision model repeats the channel itself

    def tokenize(texts: Sequence[str]) -> Any:
        return bert_tokenizer(model_max_length=77)(list(texts), padding=True, truncation=True, return_tensors="pt")

    def outputs(network: Any, x: Tensor) -> dict[str, Tensor]:
        prompts = {
            name: {k: v for k, v in tokenize(some).items() if k != "token_type_ids"} for name, some in LABELS.items()
        }
        with mock.patch.object(torch.Tensor, "cuda", lambda self, *_: self):
            classifier = package().PromptClassifier(network, ensemble=True)
            logits = classifier(pixel_values=x, prompt_inputs=prompts)["logits"]
            return {"embedding": network.encode_image(x), "probabilities": logits.softmax(-1)}

    def text_outputs(network: Any, tokens: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with mock.patch.object(torch.Tensor, "cuda", lambda self, *_: self):
            return {"text_embedding": network.encode_text(tokens["tokens"], tokens["attention"])}

    def network() -> nn.Module:
        made: nn.Module = package().MedCLIPModel(vision_cls=getattr(package(), tower))
        return made

    def store(state: dict[str, Tensor], path: Path) -> None:
        positions = {"text_model.model.embeddings.position_ids": torch.arange(512)[None]}
        with tempfile.TemporaryDirectory() as folder:
            inside = Path(folder) / "pytorch_model.bin"
            torch.save(state | positions, inside)
            with zipfile.ZipFile(path, "w") as archive:
                archive.write(inside, inside.name)

    return Author(
        network,
        prepare,
        outputs,
        libraries=(MEDCLIP, "transformers", "torchvision", "torch"),
        store=store,
        files={"vocabulary": vocabularies.word_pieces},
        tokens=lambda texts: both(tokenize(texts)),
        text_outputs=text_outputs,
        texts=TEXTS,
        labels=LABELS,
    )


# ---------------------------------------------------------------- BioViL-T


def biovil_t() -> Author:
    """Return how hi-ml-multimodal runs it: `load_image`, its transform, the image model's and the text model's projections."""
    kept: dict[str, dict[str, Tensor]] = {}

    def network() -> nn.Module:
        image: Any = packages.module(HI_ML, "health_multimodal.image.model.model")
        text: Any = packages.module(HI_ML, "health_multimodal.text.model.modelling_cxrbert")
        config = text.CXRBertConfig(vocab_size=30522, projection_size=128)
        return nn.ModuleDict(
            {
                "image": image.ImageModel("resnet50_multi_image", joint_feature_size=128),
                "text": text.CXRBertModel(config),
            }
        )

    def prepare(file: Path) -> Tensor:
        io: Any = packages.module(HI_ML, "health_multimodal.image.data.io")
        steps: Any = packages.module(HI_ML, "health_multimodal.image.data.transforms")
        transform = steps.create_chest_xray_transform_for_inference(resize=512, center_crop_size=448)
        with tempfile.TemporaryDirectory() as folder:
            gray = (
                Path(folder) / "gray.png"
            )  # load_image stretches the channels of colors together; radiographs have one
            Image.open(file).convert("L").save(gray)
            tensor: Tensor = transform(io.load_image(gray))
        return tensor[None]

    def tokenize(texts: Sequence[str]) -> Any:
        texts = [text.rstrip("!?.") for text in texts]  # TextInput.tokenize_input_prompts
        return bert_tokenizer()(texts, add_special_tokens=True, padding="longest", return_tensors="pt")

    def encode_text(network: Any, tokens: Any) -> Tensor:
        found: Tensor = network["text"].get_projected_text_embeddings(tokens["input_ids"], tokens["attention_mask"])
        return found

    def outputs(network: Any, x: Tensor) -> dict[str, Tensor]:
        projected = functional.normalize(network["image"](x).projected_global_embedding, dim=-1)
        classify = zero_shot(LABELS, ("{}",), tokenize, encode_text, lambda _, image, texts: image @ texts)
        return {"embedding": projected, "probabilities": classify(network, projected)}

    def store(state: dict[str, Tensor], path: Path) -> None:
        for part in ("image", "text"):
            kept[part] = {key.removeprefix(f"{part}."): t for key, t in state.items() if key.startswith(f"{part}.")}
        torch.save(kept["image"], path)

    def store_text(path: Path) -> None:
        torch.save(kept["text"] | {"bert.embeddings.position_ids": torch.arange(512)[None]}, path)

    return Author(
        network,
        prepare,
        outputs,
        libraries=(HI_ML, "transformers", "torchvision", "torch"),
        store=store,
        files={"text": store_text, "vocabulary": vocabularies.word_pieces},
        tokens=lambda texts: both(tokenize(texts)),
        text_outputs=lambda network, tokens: {
            "text_embedding": encode_text(
                network, {"input_ids": tokens["tokens"], "attention_mask": tokens["attention"]}
            )
        },
        texts=(*TEXTS[:-1], "the heart is enlarged " * 127 + "no finding"),  # 512 tokens with the two at the ends
        refused=("the heart is enlarged " * 127 + "no finding the",),
        labels=LABELS,
    )


# ---------------------------------------------------------------- KEEP


class Keep(nn.Module):
    """KEEP as its quick start composes timm's ViT-L/16 and transformers' BERT."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = timm.create_model(
            "vit_large_patch16_224",
            pretrained=False,
            img_size=224,
            patch_size=16,
            init_values=1e-5,
            num_classes=0,
            dynamic_img_size=True,
        )
        self.visual_head = nn.Sequential(nn.Linear(1024, 768), nn.GELU(), nn.Linear(768, 768))
        self.text = transformers.BertModel(transformers.BertConfig())
        self.logit_scale = nn.Parameter(torch.ones([]) * np.log(1 / 0.04))


def keep() -> Author:
    """Return how KEEP's README and quick start run it; tiles are classified as in its WSI_evaluation/utils.py."""
    transform = transforms.Compose(
        [
            transforms.Resize(size=224, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size=(224, 224)),
            transforms.ToTensor(),
            transforms.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        ]
    )

    def prepare(file: Path) -> Tensor:
        tensor: Tensor = transform(Image.open(file).convert("RGB"))
        return tensor[None]

    def tokenize(texts: Sequence[str]) -> Any:
        return bert_tokenizer()(list(texts), max_length=256, padding="max_length", truncation=True, return_tensors="pt")

    def encode_text(network: Any, tokens: Any) -> Tensor:
        return functional.normalize(network.text(**tokens).pooler_output, dim=-1)

    def outputs(network: Any, x: Tensor) -> dict[str, Tensor]:
        image = functional.normalize(network.visual_head(network.visual(x)), dim=-1)
        classify = zero_shot(LABELS, ("an H&E image of {}.",), tokenize, encode_text, lambda _, i, t: i @ t * 10)
        return {"embedding": image, "probabilities": classify(network, image)}

    def store(state: dict[str, Tensor], path: Path) -> None:
        from safetensors.torch import save_file

        # transformers of that time wrote every parameter called gamma as weight
        save_file({key.replace(".gamma", ".weight"): tensor.contiguous() for key, tensor in state.items()}, path)

    return Author(
        Keep,
        prepare,
        outputs,
        libraries=("transformers", "timm", "torchvision", "torch"),
        store=store,
        files={"vocabulary": vocabularies.word_pieces},
        tokens=lambda texts: both(tokenize(texts)),
        text_outputs=lambda network, tokens: {
            "text_embedding": encode_text(
                network, {"input_ids": tokens["tokens"], "attention_mask": tokens["attention"]}
            )
        },
        texts=TEXTS,
        labels=LABELS,
    )


AUTHORS: dict[str, Author] = {
    "medclip-resnet50": medclip("MedCLIPVisionModel"),
    "medclip-vit": medclip("MedCLIPVisionModelViT"),
    "biovil-t": biovil_t(),
    "keep": keep(),
}
