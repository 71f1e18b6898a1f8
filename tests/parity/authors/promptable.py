"""Segment Anything and its relatives, as their authors run them: the packages they publish, and their inference scripts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import medim
import nibabel
import numpy as np
import torch
import torchio
from segment_anything import build_sam_vit_b
from segment_anything.modeling import ImageEncoderViT, Sam
from segment_anything.utils.transforms import ResizeLongestSide
from skimage import transform
from torch import Tensor, nn
from torch.nn import functional
from torchvision import transforms
from transformers import SamConfig, SamModel

from tests.parity.harness import Author
from tests.parity.pipelines import transformed
from tests.parity.prompted import Read, calls, clicks, compared, first_clicks, middle, picture, pixels, volumes

# ---------------------------------------------------------------- MedSAM


def medsam_input(file: Path) -> Read:
    """MedSAM_Inference.py: cubic to 1024 x 1024, back to bytes, then from the lowest to the highest value."""
    picture = pixels(file)
    resized = transform.resize(picture, (1024, 1024), order=3, preserve_range=True, anti_aliasing=True).astype(np.uint8)
    stretched = (resized - resized.min()) / np.clip(resized.max() - resized.min(), a_min=1e-8, a_max=None)
    return Read(torch.tensor(stretched).float().permute(2, 0, 1)[None], picture.shape[:2])


def medsam_outputs(network: Any, x: Read) -> dict[str, Tensor]:
    """MedSAM_Inference.py, medsam_inference: probabilities, then the picture's size, above 0.5."""
    height, width = x.size
    seen = network.image_encoder(x["image"])
    surfaces, masks, overlaps = [], [], []
    for call in calls(("box",), x.size):
        for box in call["boxes"]:
            scaled = np.array([box]) / np.array([width, height, width, height]) * 1024
            sparse, dense = network.prompt_encoder(
                points=None, boxes=torch.as_tensor(scaled, dtype=torch.float)[:, None, :], masks=None
            )
            logits, overlap = network.mask_decoder(
                image_embeddings=seen,
                image_pe=network.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,
            )
            probabilities = functional.interpolate(
                torch.sigmoid(logits), size=(height, width), mode="bilinear", align_corners=False
            )[0]
            surfaces.append(probabilities)
            masks.append(probabilities > 0.5)
            overlaps.append(overlap[0])
    return compared(surfaces, masks, overlaps)


def sam() -> nn.Module:
    """Return SAM ViT-B of the authors' package."""
    network: nn.Module = build_sam_vit_b()
    return network


# ---------------------------------------------------------------- Segment Anything, in transformers' network

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]  # segment_anything/build_sam.py, _build_sam
LONGEST = ResizeLongestSide(1024)


def frame() -> Any:
    """Return what of the authors' package prepares and restores, without its networks."""
    return Sam(_Side(), nn.Identity(), nn.Identity(), MEAN, STD)


class _Side(nn.Module):
    img_size = 1024


def sam_input(file: Path) -> Read:
    """SamPredictor.set_image and Sam.preprocess."""
    picture = pixels(file)
    resized = torch.as_tensor(LONGEST.apply_image(picture)).permute(2, 0, 1)[None]
    return Read(frame().preprocess(resized), picture.shape[:2])


def sam_outputs(network: Any, x: Read) -> dict[str, Tensor]:
    """SamPredictor.predict; three masks for a single click, of which the notebook takes the one with the highest score."""
    seen = network.get_image_embeddings(x["image"])
    inside = ResizeLongestSide.get_preprocess_shape(*x.size, 1024)
    surfaces, masks, overlaps = [], [], []
    before = None
    for call in calls(("box", "point", "mask"), x.size):
        boxes = call.get("boxes") or [None]
        for box in boxes:
            asked: dict[str, Any] = {}
            if box is not None:
                asked["input_boxes"] = torch.tensor(LONGEST.apply_boxes(np.array([box]), x.size)).float()[None]
            points = call.get("points", [])
            if points:
                places = LONGEST.apply_coords(np.array([p[:2] for p in points]), x.size)
                asked["input_points"] = torch.tensor(places).float()[None, None]
                asked["input_labels"] = torch.tensor([p[2] for p in points])[None, None]
            if call.get("again"):
                asked["input_masks"] = before
            alone = box is None and len(points) == 1
            found = network(image_embeddings=seen, multimask_output=alone, **asked)
            scores, logits = found.iou_scores[0, 0], found.pred_masks[0]
            best = int(scores.argmax())
            before = logits[:, best : best + 1]
            whole = frame().postprocess_masks(before, inside, x.size)[0]
            surfaces.append(whole)
            masks.append(whole > Sam.mask_threshold)
            overlaps.append(scores[best : best + 1])
    return compared(surfaces, masks, overlaps)


def transformers_sam() -> nn.Module:
    """Return SAM ViT-B as transformers builds it; in the decoder it divides by another epsilon than the authors (1e-5)."""
    network: nn.Module = SamModel(SamConfig())
    for module in network.mask_decoder.transformer.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5
    return network


# ---------------------------------------------------------------- SAM-Med3D


def whole(places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the nearest voxels: the authors take clicks from masks on the network's grid and have none between voxels."""
    return np.ceil(places - 0.5 - 1e-6)


class Crop:
    """One box around clicks, prepared for the network, and the way back."""

    def __init__(self, file: Path, points: list[list[int]]) -> None:
        """utils/infer_utils.py, data_preprocess; the label that CropOrPad looks for has the clicks instead of a true mask."""
        picture = torchio.ScalarImage(file)
        self.shape, self.affine = picture.spatial_shape, picture.affine
        resampled = torchio.Resample(target=(1.5, 1.5, 1.5))(torchio.Subject(image=picture))
        canonical = torchio.ToCanonical()(resampled)
        world = np.c_[np.array(points)[:, :3], np.ones(len(points))] @ nibabel.load(file).affine.T
        label = torch.zeros(canonical.image.data.shape)
        voxels = whole(world @ np.linalg.inv(canonical.image.affine).T)[:, :3].astype(int)
        label[0, voxels[:, 0], voxels[:, 1], voxels[:, 2]] = 1
        canonical.add_image(torchio.LabelMap(tensor=label, affine=canonical.image.affine), "label")
        roi = torchio.CropOrPad(mask_name="label", target_shape=(128, 128, 128))(canonical)
        self.roi_affine = roi.image.affine
        normalize = torchio.ZNormalization(masking_method=lambda x: x > 0)
        self.image = normalize(roi.image.data.clone())[None]
        places = whole(world @ np.linalg.inv(self.roi_affine).T)[:, :3]
        self.points, self.labels = torch.tensor(places).float(), torch.tensor([p[3] for p in points])

    def returned(self, mask: Tensor) -> Tensor:
        """utils/infer_utils.py, data_postprocess."""
        label = torchio.LabelMap(tensor=mask[None].float(), affine=self.roi_affine)
        target = torchio.ScalarImage(tensor=torch.zeros(1, *self.shape), affine=self.affine)
        found: Tensor = torchio.Resample(target=target, image_interpolation="nearest")(label).data[0]
        return found


class Crops(dict[str, Tensor]):
    """The prepared box of the first call, and those of all calls."""

    def __init__(self, file: Path) -> None:
        self.crops = [Crop(file, call["points"]) for call in clicks(nibabel.load(file).shape)]
        super().__init__(image=self.crops[0].image)


def sam_med3d_outputs(network: Any, x: Crops) -> dict[str, Tensor]:
    """utils/infer_utils.py, sam_model_infer: click by click, each with the logits before it, zeros at first."""
    inside, shares, middles, expected = [], [], [], []
    for crop in x.crops:
        seen = network.image_encoder(crop.image)
        before = torch.zeros(1, 1, 32, 32, 32)
        for count in range(1, len(crop.points) + 1):
            sparse, dense = network.prompt_encoder(
                points=[crop.points[None, :count], crop.labels[None, :count]], boxes=None, masks=before
            )
            before, overlap = network.mask_decoder(
                image_embeddings=seen,
                image_pe=network.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
            )
        whole = functional.interpolate(before, size=(128, 128, 128), mode="trilinear", align_corners=False)[0, 0]
        mask = crop.returned(torch.sigmoid(whole) > 0.5)
        inside.append(whole[::3, ::5, ::2])
        shares.append(mask.mean()[None])
        middles.append(middle(mask))
        expected.append(overlap[0])
    names = ("inside", "shares", "middles", "expected")
    return {name: torch.cat(found) for name, found in zip(names, (inside, shares, middles, expected), strict=True)}


def sam_med3d() -> nn.Module:
    """Return SAM-Med3D of MedIM."""
    network: nn.Module = medim.create_model("SAM-Med3D", pretrained=False)
    return network


def sam_med3d_store(state: dict[str, Tensor], path: Path) -> None:
    """The key that MedIM reads."""
    torch.save({"model_state_dict": state}, path)


# ---------------------------------------------------------------- LVM-Med


class LvmMed(ImageEncoderViT):
    """model/unet_vit_classification.py: SAM's encoder without absolute positions, its neck left aside."""

    def __init__(self) -> None:
        super().__init__(
            depth=12, embed_dim=768, img_size=1024, mlp_ratio=4, norm_layer=partial(nn.LayerNorm, eps=1e-6), num_heads=12,
            patch_size=16, qkv_bias=True, use_rel_pos=True, use_abs_pos=False, global_attn_indexes=[2, 5, 8, 11],
            window_size=14, out_chans=256,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for block in self.blocks:
            x = block(x)
        return nn.AdaptiveAvgPool2d((1, 1))(x.permute(0, 3, 1, 2)).flatten(1)


LIBRARIES = ("segment-anything", "torch")

AUTHORS: dict[str, Author] = {
    # https://github.com/bowang-lab/MedSAM MedSAM_Inference.py
    "medsam": Author(sam, medsam_input, medsam_outputs, libraries=(*LIBRARIES, "scikit-image")),
    # https://github.com/facebookresearch/segment-anything segment_anything/predictor.py and notebooks/predictor_example.ipynb
    "sam-vit-b": Author(
        transformers_sam,
        sam_input,
        sam_outputs,
        libraries=("transformers", *LIBRARIES),
        pictures=picture("half.png", 2048, 401),
    ),
    # https://github.com/uni-medical/SAM-Med3D readme.md (MedIM's network) and utils/infer_utils.py
    "sam-med3d-turbo": Author(
        sam_med3d,
        Crops,
        sam_med3d_outputs,
        libraries=("medim", "torchio", "simpleitk", "torch"),
        store=sam_med3d_store,
        instead=volumes,
        around=first_clicks,
    ),
    # https://github.com/duyhominhnguyen/LVM-Med classification_VIT/train_SAMVIT_classification.py, dataset brain
    "lvm-med-vit-b": Author(
        LvmMed,
        transformed(
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ),
        lambda network, x: {"embedding": network(x)},
        libraries=("segment-anything", "torchvision", "torch"),
    ),
}
