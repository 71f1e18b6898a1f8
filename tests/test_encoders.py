"""Families of picture encoders beyond what the comparison with the authors' code says: faults in files, sizes, the stem."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medfm.catalog.weights import Keys, LocalOrigin, TimmVision, TransformersVision, WeightFile
from medfm.errors import CheckpointError, InputError
from medfm.runtime.families import timm_vision, transformers_vision
from medfm.runtime.stem import ConvStem

CPU = torch.device("cpu")
SMALL = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
    "use_swiglu_ffn": True, "num_register_tokens": 2,
}  # fmt: skip


@pytest.fixture
def stored(tmp_path: Path) -> tuple[nn.Module, Path]:
    """A small network of transformers and the file that the library writes of it."""
    import transformers

    torch.manual_seed(0)
    network = transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**SMALL)).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    network.save_pretrained(tmp_path)
    return network, tmp_path / "model.safetensors"


def described(path: Path, keys: Keys | None = None) -> TransformersVision:
    return TransformersVision(
        origin=LocalOrigin(files={"weights": WeightFile(path=str(path))}),
        architecture="dinov2_with_registers",
        config=SMALL,
        keys=keys or Keys(),
    )


def built(path: Path, keys: Keys | None = None) -> transformers_vision.TransformersVision:
    return transformers_vision.build(described(path, keys), {"weights": path}, CPU, torch.float32)


def test_a_file_with_the_names_of_older_versions_gives_the_same_tokens(stored: tuple[nn.Module, Path]) -> None:
    network, path = stored
    assert any("attention.attention.query" in key for key in load_file(path)), (
        "transformers still writes the older names"
    )
    x = torch.randn(2, 3, 28, 28)
    with torch.inference_mode():
        theirs: Tensor = network(x).last_hidden_state
    ours = built(path).encode({"image": x})
    assert ours.shape == (2, 1 + 2 + 4, 24)
    assert torch.equal(ours, theirs)


def test_loading_prints_nothing(stored: tuple[nn.Module, Path], capfd: pytest.CaptureFixture[str]) -> None:
    built(stored[1])
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


def test_every_fault_of_a_file_is_named(stored: tuple[nn.Module, Path]) -> None:
    path = stored[1]
    state = load_file(path)
    del state["embeddings.register_tokens"]
    state["head.weight"] = torch.zeros(3)
    state["layernorm.bias"] = torch.zeros(25)
    save_file(state, path)
    with pytest.raises(CheckpointError) as caught:
        built(path)
    message = str(caught.value)
    for name in ("embeddings.register_tokens", "head.weight", "layernorm.bias"):
        assert name in message


def test_rules_are_applied_before_names_are_turned(stored: tuple[nn.Module, Path]) -> None:
    network, path = stored
    state = {f"backbone.{key}": tensor for key, tensor in load_file(path).items()}
    save_file({**state, "head.weight": torch.zeros(3)}, path)
    keys = Keys(rename=(("^backbone\\.", ""),), drop={"head\\..*": "a classifier"})
    loaded = built(path, keys).modules()["main"].state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in network.state_dict().items())


def test_transformers_pictures_with_sides_between_patches_are_refused(stored: tuple[nn.Module, Path]) -> None:
    with pytest.raises(InputError, match=r"multiples of 14 pixels.*28 x 30"):
        built(stored[1]).encode({"image": torch.zeros(1, 3, 28, 30)})


@pytest.mark.parametrize(
    ("arguments", "size", "message"),
    [
        ({}, (32, 48), "takes 32 x 32 pixels.*32 x 48"),
        ({"dynamic_img_size": True}, (32, 50), "multiples of 16 pixels.*32 x 50"),
    ],
    ids=["one size", "many sizes"],
)
def test_timm_pictures_of_a_size_that_the_network_does_not_take_are_refused(
    arguments: dict[str, bool], size: tuple[int, int], message: str
) -> None:
    weights = TimmVision(
        origin=LocalOrigin(files={}),
        architecture="vit_tiny_patch16_224",
        arguments={"img_size": 32, "depth": 1, **arguments},
    )
    encoder = timm_vision.TimmVision(timm_vision.create(weights), weights)
    assert encoder.encode({"image": torch.zeros(1, 3, 32, 32)}).shape == (1, 5, 192)
    with pytest.raises(InputError, match=message):
        encoder.encode({"image": torch.zeros(1, 3, *size)})


def test_the_stem_is_named_in_a_record() -> None:
    weights = TimmVision(
        origin=LocalOrigin(files={}), architecture="swin_tiny_patch4_window7_224", layers={"embed_layer": "ConvStem"}
    )
    assert isinstance(timm_vision.create(weights).patch_embed, ConvStem)


def test_the_stem_gives_one_vector_for_four_pixels_in_each_direction() -> None:
    stem = ConvStem(img_size=32, patch_size=4, embed_dim=96, norm_layer=nn.LayerNorm)
    assert (stem.img_size, stem.grid_size, stem.num_patches) == ((32, 32), (8, 8), 64)
    assert stem(torch.randn(2, 3, 32, 32)).shape == (2, 8, 8, 96)
    assert sum(p.numel() for p in stem.parameters()) == 5388 + 192  # convolutions and batch norms, layer norm
