"""Networks that their authors run with nnU-Net v1: STU-Net, from the registry's `nnunet` and `medim`."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import medim
import nibabel
import numpy as np
import torch
from torch import Tensor, nn

from tests.parity import packages, volumes
from tests.parity.harness import Author

NNUNET = "nnunet==1.7.1"
PATCH = (128, 128, 128)


@cache
def nnunet(name: str) -> Any:
    """Import one of nnU-Net's modules."""
    packages.module("batchgenerators==0.25.5", "batchgenerators.utilities.file_and_folder_operations")
    return packages.module(NNUNET, f"nnunet.{name}")


def prepare(file: Path) -> Tensor:
    """Return what nnU-Net makes of a file, by the values of the published plans."""
    module = nnunet("preprocessing.preprocessing")
    preprocessor = module.GenericPreprocessor({0: "nonCT"}, {0: False}, [0, 1, 2], None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data, _, properties = preprocessor.preprocess_test_case([str(file)], np.array([1.5, 1.5, 1.5]))
    tensor: Any = torch.from_numpy(data)[None]
    tensor.history = properties, file
    return tensor  # type: ignore[no-any-return]


def mask(x: Any) -> Tensor:
    """Return the mask that nnU-Net writes, with the stand-in as network."""
    base = nnunet("network_architecture.neural_network").SegmentationNetwork

    class Network(volumes.StandIn, base):  # type: ignore[misc,valid-type]
        """The stand-in with nnU-Net's way of using networks."""

        def __init__(self) -> None:
            super().__init__(3)
            self.num_classes, self.conv_op = 3, nn.Conv3d
            self.inference_apply_nonlin = lambda logits: torch.softmax(logits, 1)
            self.anywhere = nn.Parameter(torch.zeros(1))

    network = Network().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, softmax = network.predict_3D(
            np.asarray(x[0]), do_mirroring=True, mirror_axes=(0, 1, 2), use_sliding_window=True, step_size=0.5,
            patch_size=PATCH, use_gaussian=True, verbose=False, mixed_precision=False,
        )  # fmt: skip
    properties, _ = x.history
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.nii.gz"
        save = nnunet("inference.segmentation_export").save_segmentation_nifti_from_softmax
        save(softmax, str(path), properties, order=1, force_separate_z=None, interpolation_order_z=0, verbose=False)
        return torch.from_numpy(np.asarray(nibabel.load(path).dataobj).astype(np.int32))


def outputs(side: int) -> Callable[[Any, Any], Mapping[str, Tensor]]:
    """Return a function that runs the whole network on one part, and the whole way to the mask with the stand-in."""

    def run(network: Any, x: Any) -> Mapping[str, Tensor]:
        if x.history[1].name == volumes.MASKED:
            return {"logits": network(volumes.part(x, side)), "mask": mask(x)}
        return {"logits": network(volumes.part(x, side))} if side > 32 else {}

    return run


def store(state: dict[str, Tensor], path: Path) -> None:
    """Store as nnU-Net's trainer does."""
    torch.save({"epoch": 4000, "state_dict": state, "optimizer_state_dict": {}, "plot_stuff": ([1.0], [2.0])}, path)


def stu_net(size: str, side: int) -> Author:
    """STU-Net in one of its sizes."""
    return Author(
        lambda: medim.create_model(f"STU-Net-{size}"),
        prepare,
        outputs(side),
        libraries=("medim", "torch"),
        store=store,
        instead=volumes.write,
    )


AUTHORS: dict[str, Author] = {
    # STU-Net: README, Using Our Models for Inference; plan_files; nnU-Net 1.7.1
    "stu-net-s": stu_net("S", 64),
}

UNMEASURED: dict[str, Author] = {
    "stu-net-b": stu_net("B", 64),
    "stu-net-l": stu_net("L", 64),
    "stu-net-h": stu_net("H", 32),
}
"""Larger sizes, whose comparison has not been run to its end; their records say so."""
