"""Transformers over the CDR loops of T-cell receptors.

Written from SCEPTR's paper (Nagano et al. 2025, methods) and the checkpoint's key names: residues and loops are one-hot,
a residue's position is its relative place in its loop, and an encoder turns the class token into the receptor's vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medfm.catalog.weights import Keys
from medfm.runtime import checkpoint

if TYPE_CHECKING:
    from medfm.catalog.weights import ReceptorTransformer as Description
    from medfm.runtime.capabilities import Batch

_KEYS = Keys(
    rename=(
        (r"^_token_embedder\._token_embedding\._token_embeddings$", "residues"),
        (r"^_token_embedder\._compartment_embedding\._token_embeddings$", "loops"),
        (r"^_self_attention_stack\._initial_projector\.", "project."),
        (r"^_self_attention_stack\._standard_stack\._self_attention_stack\.", "encoder."),
    ),
    drop={
        r"_mlm_token_prediction_projector\..*": "the head that predicts masked residues in training; vectors need none"
    },
)


def build(
    weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype
) -> ReceptorTransformer:
    """Build the encoder from a verified checkpoint."""
    network = checkpoint.load(
        lambda: ReceptorTransformer(weights),
        files["weights"],
        keys=_KEYS,
        sha256=weights.origin.files["weights"].sha256,
    )
    return network.to(device=device, dtype=dtype)


class ReceptorTransformer(nn.Module):
    """An Encoder of receptors: tokens (n, length, 4) int64 in, hidden states (n, length, width) out.

    The four numbers of a token are residue, position from 1, length of its loop, and loop; 0 is padding.
    """

    residues: Tensor
    loops: Tensor

    def __init__(self, shape: Description) -> None:
        super().__init__()
        residue_count, loop_count = 22, 6  # mask, class token and 20 residues; CDR1-3 of both chains
        self.register_buffer("residues", _one_hot(residue_count))
        self.register_buffer("loops", _one_hot(loop_count))
        self.project = nn.Linear(residue_count + 1 + loop_count, shape.width, bias=False)
        layer = nn.TransformerEncoderLayer(shape.width, shape.heads, shape.feedforward, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the last hidden states."""
        residue, position, length, loop = tokens.unbind(-1)
        relative = (position - 1) / (length - 1)
        relative = torch.where(relative.isnan(), 0.5, relative)  # the only residue of its loop: 0 / 0
        relative = torch.where(position == 0, 0.0, relative).to(self.residues.dtype)
        x = torch.cat([self.residues[residue], relative[..., None], self.loops[loop]], dim=-1)
        hidden: Tensor = self.encoder(self.project(x), src_key_padding_mask=residue == 0)
        return hidden

    def encode(self, batch: Batch) -> Tensor:
        """Return (n, length, width) float32."""
        with torch.inference_mode():
            hidden: Tensor = self(batch["tokens"].to(self.residues.device))
        return hidden.float().cpu()


def _one_hot(count: int) -> Tensor:
    return torch.cat([torch.zeros(1, count), torch.eye(count)])
