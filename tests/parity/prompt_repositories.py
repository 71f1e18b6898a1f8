"""How the repositories of SAM's relatives are run for a recording (see `repositories`)."""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.parity import harness
from tests.parity.harness import Author
from tests.parity.prompted import Read, calls, compared, picture, pixels, sampled


def module(name: str) -> Any:
    """Import a module of the checkout that `record` has put on the path."""
    return importlib.import_module(name)


# ---------------------------------------------------------------- SAM-Med2D


def sam_med2d() -> Author:
    """Return how SAM-Med2D's notebooks run it: `SammedPredictor`, three masks of which the best is taken."""

    def network() -> nn.Module:
        arguments = SimpleNamespace(image_size=256, sam_checkpoint=None, encoder_adapter=True)
        made: nn.Module = module("segment_anything.build_sam").build_sam_vit_b(arguments)
        return made

    def predictor(network: Any) -> Any:
        return module("segment_anything.predictor_sammed").SammedPredictor(network)

    def prepare(file: Path) -> Read:
        seen: list[Tensor] = []

        class Encoder:
            img_size = 256

            def __call__(self, x: Tensor) -> None:
                seen.append(x)

        mean, std = ([[[v]] for v in values] for values in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]))
        stub = SimpleNamespace(
            pixel_mean=torch.Tensor(mean),
            pixel_std=torch.Tensor(std),
            image_format="RGB",
            image_encoder=Encoder(),
            device="cpu",
        )
        array = pixels(file)
        predictor(stub).set_image(array)
        return Read(seen[0].float(), array.shape[:2])

    def outputs(network: Any, x: Read) -> dict[str, Tensor]:
        running = predictor(network)
        running.original_size, running.new_size = x.size, (256, 256)
        running.features, running.is_image_set = network.image_encoder(x["image"]), True
        surfaces, masks, overlaps = [], [], []
        before: Any = None
        for call in calls(("box", "point", "mask"), x.size):
            points = call.get("points", [])
            for box in call.get("boxes") or [None]:
                asked = {
                    "box": None if box is None else np.array([box]),
                    "point_coords": np.array([p[:2] for p in points]) if points else None,
                    "point_labels": np.array([p[2] for p in points]) if points else None,
                    "mask_input": before if call.get("again") else None,
                }
                whole, scores, low = running.predict(**asked, multimask_output=True, return_logits=True)
                mask, _, _ = running.predict(**asked, multimask_output=True)
                before = low
                surfaces.append(torch.from_numpy(whole))
                masks.append(torch.from_numpy(mask))
                overlaps.append(torch.from_numpy(scores))
        return sampled(compared(surfaces, masks, overlaps))

    def store(state: dict[str, Tensor], path: Path) -> None:
        torch.save({"model": state}, path)

    libraries = ("albumentations", "opencv-python-headless", "torch")
    # at these sizes, the nearest pixel is another one for OpenCV than for torch
    sides = picture("nearest.png", 396, 372)
    return Author(network, prepare, outputs, libraries=libraries, store=store, pictures=sides)


# ---------------------------------------------------------------- LiteMedSAM


def lite_medsam() -> Author:
    """Return how CVPR24_LiteMedSAM_infer.py runs it on one 2D picture, box by box."""

    @cache
    def script() -> Any:
        """Return the script's functions and classes; importing it would ask for arguments and open files."""
        import cv2

        path = Path(module("tiny_vit_sam").__file__).with_name("CVPR24_LiteMedSAM_infer.py")
        parsed = ast.parse(path.read_text())
        wanted = [n for n in parsed.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        names = {"np": np, "torch": torch, "nn": nn, "F": functional, "cv2": cv2, "device": "cpu"}
        exec(compile(ast.Module(wanted, []), str(path), "exec"), names)  # noqa: S102  # the authors' own code, when recording
        return SimpleNamespace(**names)

    def network() -> nn.Module:
        modeling = module("segment_anything.modeling")
        encoder = module("tiny_vit_sam").TinyViT(
            img_size=256, in_chans=3, embed_dims=[64, 128, 160, 320], depths=[2, 2, 6, 2], num_heads=[2, 4, 5, 10],
            window_sizes=[7, 7, 14, 7], mlp_ratio=4.0, drop_rate=0.0, drop_path_rate=0.0, use_checkpoint=False,
            mbconv_expand_ratio=4.0, local_conv_size=3, layer_lr_decay=0.8,
        )  # fmt: skip
        prompts = modeling.PromptEncoder(
            embed_dim=256, image_embedding_size=(64, 64), input_image_size=(256, 256), mask_in_chans=16
        )
        decoder = modeling.MaskDecoder(
            num_multimask_outputs=3,
            transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
            transformer_dim=256,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        )
        made: nn.Module = script().MedSAM_Lite(image_encoder=encoder, mask_decoder=decoder, prompt_encoder=prompts)
        return made

    def prepare(file: Path) -> Read:
        array = pixels(file)
        small = script().resize_longest_side(array, 256)
        stretched = (small - small.min()) / np.clip(small.max() - small.min(), a_min=1e-8, a_max=None)
        padded = script().pad_image(stretched, 256)
        return Read(torch.tensor(padded).float().permute(2, 0, 1)[None], array.shape[:2])

    def outputs(network: Any, x: Read) -> dict[str, Tensor]:
        network.train()
        network.eval()  # after the weights, as in the script: the encoder gathers its biases when it is switched
        seen = network.image_encoder(x["image"])
        height, width = x.size
        inside = tuple(int(side * (256 / max(x.size)) + 0.5) for side in x.size)
        surfaces, masks, overlaps = [], [], []
        for call in calls(("box",), x.size):
            for box in call["boxes"]:
                scaled = script().resize_box_to_256(np.array(box), original_size=(height, width))[None]
                mask, overlap = script().medsam_inference(network, seen, scaled, inside, (height, width))
                sparse, dense = network.prompt_encoder(
                    points=None, boxes=torch.as_tensor(scaled[None]).float(), masks=None
                )
                logits, _ = network.mask_decoder(
                    image_embeddings=seen,
                    image_pe=network.prompt_encoder.get_dense_pe(),
                    sparse_prompt_embeddings=sparse,
                    dense_prompt_embeddings=dense,
                    multimask_output=False,
                )
                surfaces.append(network.postprocess_masks(logits, inside, (height, width))[0])
                masks.append(torch.from_numpy(mask)[None])
                overlaps.append(overlap[0])
        return sampled(compared(surfaces, masks, overlaps))

    return Author(
        network, prepare, outputs, libraries=("timm", "opencv-python-headless", "torch"), store=harness.store,
        pictures=picture("half.png", 512, 401),
    )  # fmt: skip


AUTHORS: dict[str, Author] = {"sam-med2d": sam_med2d(), "lite-medsam": lite_medsam()}

REPOSITORIES = {
    "sam-med2d": "https://github.com/OpenGVLab/SAM-Med2D",
    "lite-medsam": "https://github.com/bowang-lab/MedSAM",
}
