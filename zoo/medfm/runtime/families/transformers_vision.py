"""Image encoders that transformers builds, from the values of their config.json: ViT, and DINOv2 with or without registers.

The library's names of parameters change between its versions, and it turns those of older files into its own when it loads;
so it loads the tensors here too, and what it reports must be nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medfm.errors import CheckpointError, InputError, MissingExtraError
from medfm.runtime import checkpoint

if TYPE_CHECKING:
    from medfm.catalog.weights import TransformersVision as Description
    from medfm.runtime.capabilities import Batch

_CLASSES = {
    "vit": ("ViTConfig", "ViTModel", {"add_pooling_layer": False}),
    "dinov2": ("Dinov2Config", "Dinov2Model", {}),
    "dinov2_with_registers": ("Dinov2WithRegistersConfig", "Dinov2WithRegistersModel", {}),
}


def build(
    weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype
) -> TransformersVision:
    """Build the encoder from a verified checkpoint.

    Raises:
        CheckpointError: keys are missing, not expected or of another shape.
        MissingExtraError: transformers is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "vision", why="building this model") from None
    path, keys = files["weights"], weights.keys
    state = checkpoint.read(path, unwrap=keys.unwrap, sha256=weights.origin.files["weights"].sha256)
    state, doubled = checkpoint.rename(state, keys)
    config, model, options = _CLASSES[weights.architecture]
    with _quiet(transformers):
        network, report = getattr(transformers, model).from_pretrained(
            None,  # no name: nothing is fetched
            config=getattr(transformers, config)(**weights.config),
            state_dict=state,
            ignore_mismatched_sizes=True,  # they are reported below, with all other faults
            output_loading_info=True,
            **options,
        )
    missing = {key for key in report["missing_keys"] if not checkpoint.listed(key, keys.absent)}
    extra = [*report["unexpected_keys"], *doubled]
    misshapen = [f"{key} {list(found)} for {list(wanted)}" for key, found, wanted in report["mismatched_keys"]]
    if missing or extra or misshapen:
        raise CheckpointError(path.name, missing=missing, extra=extra, misshapen=misshapen)
    return TransformersVision(network.eval().requires_grad_(False).to(device=device, dtype=dtype))


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep transformers from printing a bar and a table of what does not fit: the error says it."""
    logging = transformers.utils.logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


class TransformersVision:
    """An Encoder of pictures: (n, channels, height, width) in, tokens (n, tokens, width) out."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def encode(self, batch: Batch) -> Tensor:
        """Return the last hidden states after the last normalization, float32: class token and registers in front.

        Raises:
            InputError: the pictures' sides are no multiples of the patches'.
        """
        network: Any = self._network
        height, width = batch["image"].shape[-2:]
        side = int(network.config.patch_size)
        if height % side or width % side:
            raise InputError(
                f"this model takes sides that are multiples of {side} pixels, but the contract's steps leave "
                f"{height} x {width} of this picture: cut it square first"
            )
        parameter = next(network.parameters())
        with torch.inference_mode():
            hidden = self.compute(batch["image"].to(parameter.device, parameter.dtype))
        return hidden.float().cpu()

    def compute(self, images: Tensor) -> Tensor:
        """Return what the network makes of images; the part of `encode` that another backend can take over."""
        hidden: Tensor = self._network(images).last_hidden_state
        return hidden

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks by name."""
        return {"main": self._network}
