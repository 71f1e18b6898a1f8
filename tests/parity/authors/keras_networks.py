"""RadImageNet as its authors' scripts run it: Keras' ResNet-50 and Keras' own reading of pictures, on torch."""

from __future__ import annotations

import os
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.parity.harness import Author

os.environ.setdefault("KERAS_BACKEND", "torch")

SIZE = 256  # thyroid/thyroid_train.py: the default of --image_size


@cache
def keras() -> Any:
    import keras

    assert keras.backend.backend() == "torch"
    return keras


class ResNet50(nn.Module):
    """Keras' network (weights and layers are Keras'), whose weights have the names and layout of the port to torch."""

    def __init__(self) -> None:
        super().__init__()
        applications = keras().applications
        self.network: list[Any] = [
            applications.ResNet50(include_top=False, weights=None, pooling="avg", input_shape=(SIZE, SIZE, 3))
        ]
        for layer in self.weighted():
            name = ported(layer.name)
            shapes = [tuple(weight.shape) for weight in layer.weights]
            if layer.name.endswith("conv"):
                self._keep(f"{name}.weight", (shapes[0][3], shapes[0][2], *shapes[0][:2]))
                self._keep(f"{name}.bias", shapes[1])
            else:
                for kind in ("weight", "bias", "running_mean", "running_var"):
                    self._keep(f"{name}.{kind}", shapes[0])

    def weighted(self) -> list[Any]:
        return [layer for layer in self.network[0].layers if layer.weights]

    def _keep(self, name: str, shape: tuple[int, ...]) -> None:
        owner: nn.Module = self
        *path, last = name.split(".")
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        owner.register_buffer(last, torch.zeros(shape))

    def forward(self, x: np.ndarray) -> Tensor:
        state = self.state_dict()
        for layer in self.weighted():
            name = ported(layer.name)
            if layer.name.endswith("conv"):
                values = [state[f"{name}.weight"].permute(2, 3, 1, 0), state[f"{name}.bias"]]
            else:
                values = [state[f"{name}.{kind}"] for kind in ("weight", "bias", "running_mean", "running_var")]
            layer.set_weights([value.numpy() for value in values])
        found = self.network[0].predict(x, verbose=0)
        return torch.from_numpy(np.array(found))


def ported(layer: str) -> str:
    """Return the port's name of a layer of Keras: conv3_block2_0_bn is layer2.1.downsample.1."""
    if layer.startswith("conv1_"):
        return layer.replace("conv1_", "").replace("conv", "conv1").replace("bn", "bn1")
    stage, block, number, kind = layer.split("_")
    place = f"layer{int(stage[-1]) - 1}.{int(block.removeprefix('block')) - 1}"
    if number == "0":
        return f"{place}.downsample.{0 if kind == 'conv' else 1}"
    return f"{place}.{kind}{number}"


def prepare(file: Path) -> Tensor:
    """ImageDataGenerator(rescale=1/255, preprocessing_function=preprocess_input).flow_from_dataframe(target_size=...)."""
    from keras.applications.imagenet_utils import preprocess_input
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    image = keras().utils.load_img(file, target_size=(SIZE, SIZE), interpolation="nearest")  # the generator's default
    generator = ImageDataGenerator(rescale=1.0 / 255, preprocessing_function=preprocess_input)
    array = generator.standardize(keras().utils.img_to_array(image))
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))[None]


def outputs(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Keras, about NumPy 2
        return {"embedding": network(x.permute(0, 2, 3, 1).numpy())}


AUTHORS: dict[str, Author] = {
    "radimagenet-resnet50": Author(ResNet50, prepare, outputs, libraries=("keras", "pillow", "torch")),
}
