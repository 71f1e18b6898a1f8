"""Convolutional networks: TorchXRayVision by its own library, Lunit's ResNets as their README builds them."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torchvision
import torchxrayvision as xrv
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from tests.dicoms import dicom, save
from tests.parity.harness import Author
from tests.parity.pipelines import LUNIT, standard

# ---------------------------------------------------------------- TorchXRayVision


def radiographs(folder: Path) -> list[Path]:
    """Write radiographs as DICOM of 12 bits: one with inverted gray values, odd and even sides, below and above 512."""
    paths = []
    sizes = {"a.dcm": (341, 262), "b.dcm": (230, 417), "c.dcm": (641, 702)}
    for name, (height, width) in sizes.items():
        y, x = np.mgrid[0:height, 0:width]
        waves = np.sin(x / 17) + np.cos(y / 11) + np.sin((x + y) / 5) / 3
        pixels = (2047 + 800 * waves).clip(0, 4095).astype(np.uint16)
        photometric = "MONOCHROME1" if name == "a.dcm" else "MONOCHROME2"
        tags = {
            "BitsStored": 12,
            "HighBit": 11,
            "PhotometricInterpretation": photometric,
            "WindowCenter": 1000,
            "WindowWidth": 900,
        }
        paths.append(save(dicom(pixels, RescaleSlope=2, RescaleIntercept=-7, **tags), folder / name))
    return paths


def xrv_input(file: Path, transform: Any) -> Tensor:
    """Return the input as scripts/process_image.py of the library makes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the library tells of every MONOCHROME1
        image = xrv.utils.load_image(str(file))
    return torch.from_numpy(transform(image))[None].float()


def xrv_densenet(weights: str) -> Author:
    """Return how the library runs one of its DenseNets: README, Getting started."""
    known = xrv.models.model_urls[weights]
    transform = torchvision.transforms.Compose([xrv.datasets.XRayCenterCrop(), xrv.datasets.XRayResizer(224)])

    def outputs(network: Any, x: Tensor) -> dict[str, Tensor]:
        network.op_threshs = torch.tensor(known["op_threshs"])
        return {"embedding": network.features2(x), "scores": network(x)[:, trained(known)]}

    return xrv_author(
        known, xrv.models.DenseNet, lambda file: xrv_input(file, transform), outputs, whole_module, "classifier"
    )


def xrv_resnet(weights: str) -> Author:
    """Return how the library runs its ResNet, which resizes what it is given."""
    known = xrv.models.model_urls[weights]

    def network() -> nn.Module:
        with TemporaryDirectory() as folder:  # its constructor reads the file of the weights
            body = torchvision.models.resnet50(num_classes=len(known["labels"]))
            body.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
            torch.save(body.state_dict(), Path(folder) / Path(known["weights_url"]).name)
            built: nn.Module = xrv.models.ResNet(weights=weights, cache_dir=folder)
        return built

    def prepare(file: Path) -> Tensor:
        resized: Tensor = xrv.utils.fix_resolution(xrv_input(file, xrv.datasets.XRayCenterCrop()), 512, None)
        return resized

    def outputs(network: Any, x: Tensor) -> dict[str, Tensor]:
        network.op_threshs = torch.tensor(known["op_threshs"])
        return {"embedding": network.features(x), "scores": network(x)[:, trained(known)]}

    def store(state: dict[str, Tensor], path: Path) -> None:
        inside = {key.removeprefix("model."): tensor for key, tensor in state.items() if key.startswith("model.")}
        torch.save(inside, path)

    return xrv_author(known, network, prepare, outputs, store, "model.fc")


def xrv_author(known: dict[str, Any], network: Any, prepare: Any, outputs: Any, store: Any, last: str) -> Author:
    labels = tuple(known["labels"][i] for i in trained(known))
    libraries = ("torchxrayvision", "torchvision", "scikit-image", "torch")

    def near_the_points(built: nn.Module) -> None:
        layer = built.get_submodule(last)
        points = torch.tensor(known["op_threshs"]).nan_to_num(0.5)
        above = (torch.arange(len(points)) % 2 == 1) & (points > 0.05)  # above a tiny one, its value hardly shows
        layer.weight.mul_(5e-4)
        layer.bias.copy_(points.logit() + torch.where(above, 0.5, -0.5))

    return Author(
        network, prepare, outputs, libraries, store, labels=labels, pictures=radiographs, adjust=near_the_points
    )


def trained(known: dict[str, Any]) -> list[int]:
    """Return which outputs the library knows to be trained: they have a name and an operating point."""
    pairs = zip(known["labels"], known["op_threshs"], strict=True)
    return [i for i, (label, point) in enumerate(pairs) if label and not math.isnan(point)]


def whole_module(state: dict[str, Tensor], path: Path) -> None:
    """Write the network itself, in torch's first format, as the library's files of 2020 hold it."""
    network = xrv.models.DenseNet()
    network.load_state_dict(state)
    torch.save(network, path, _use_new_zipfile_serialization=False)


# ---------------------------------------------------------------- Lunit


class ResNetTrunk(ResNet):
    """README of lunit-io/benchmark-ssl-pathology: torchvision's ResNet without its last layer."""

    def __init__(self) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3])
        del self.fc

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def mean_of_maps(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    return {"embedding": network(x).mean(dim=(2, 3))}


lunit = Author(ResNetTrunk, standard(LUNIT), mean_of_maps, ("torchvision", "torch"))

AUTHORS: dict[str, Author] = {
    **{
        f"xrv-densenet121-{name.replace('_', '-')}": xrv_densenet(f"densenet121-res224-{name}")
        for name in ("all", "nih", "pc", "chex", "rsna", "mimic_nb", "mimic_ch")
    },
    "xrv-resnet50-all": xrv_resnet("resnet50-res512-all"),
    "lunit-bt-resnet50": lunit,
    "lunit-mocov2-resnet50": lunit,
    "lunit-swav-resnet50": lunit,
}
