"""BERT over residues, with heads for masked residues and for labels of the whole sequence (AntiBERTy, Ruffolo et al. 2021).

The body is transformers' BertModel; the heads were written from the checkpoint's key names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medfm.catalog.weights import Keys
from medfm.errors import MissingExtraError
from medfm.runtime import checkpoint

if TYPE_CHECKING:
    from medfm.catalog.weights import BertSequence as Description
    from medfm.runtime.capabilities import Batch

_SPECIAL = 5  # [PAD] [UNK] [CLS] [SEP] [MASK] come first in the vocabulary and are never predicted
_MASK = 4
_KEYS = Keys(
    drop={
        r"bert\.embeddings\.position_ids": "position numbers, which older versions of transformers stored",
        r"cls\.predictions\.bias": "a second copy of cls.predictions.decoder.bias",
    }
)


def build(weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype) -> BertSequence:
    """Build the network from a verified checkpoint."""
    network = checkpoint.load(
        lambda: BertSequence(weights),
        files["weights"],
        keys=_KEYS,
        sha256=weights.origin.files["weights"].sha256,
    )
    return network.to(device=device, dtype=dtype)


class BertSequence(nn.Module):
    """An Encoder, Classifier and Generator: tokens (n, length) int64 with an attention mask of the same shape in."""

    def __init__(self, shape: Description) -> None:
        super().__init__()
        try:
            from transformers import BertConfig, BertModel
        except ImportError:
            raise MissingExtraError("transformers", "sequences", why="building a BERT") from None
        config = BertConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=shape.feedforward,
            max_position_embeddings=shape.positions,
        )
        self.bert = BertModel(config)
        self.cls = nn.ModuleDict({"predictions": _ResidueHead(shape)})
        self.cls.update({name: nn.Linear(shape.width, count) for name, count in shape.scored.items()})
        self._scored = tuple(shape.scored)

    def encode(self, batch: Batch) -> Tensor:
        """Return the last hidden states, (n, length, width) float32."""
        return self._hidden(batch).last_hidden_state.float().cpu()  # type: ignore[no-any-return]

    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Return the logits of each head on the pooled token, (n, labels) float32."""
        pooled = self._hidden(batch).pooler_output
        with torch.inference_mode():
            return {name: self.cls[name](pooled).float().cpu() for name in self._scored}

    def complete(self, batch: Batch) -> Tensor:
        """Return the tokens with each masked one replaced by the likeliest residue."""
        hidden = self._hidden(batch).last_hidden_state
        with torch.inference_mode():
            logits = self.cls["predictions"](hidden).float().cpu()
            logits[..., :_SPECIAL] = -torch.inf
        tokens = batch["tokens"]
        return torch.where(tokens == _MASK, logits.argmax(-1), tokens)

    def _hidden(self, batch: Batch) -> Any:
        device = self.bert.device
        with torch.inference_mode():
            return self.bert(batch["tokens"].to(device), attention_mask=batch["attention"].to(device))


class _ResidueHead(nn.Module):
    """BERT's masked-token head."""

    def __init__(self, shape: Description) -> None:
        super().__init__()
        self.transform = nn.ModuleDict(
            {"dense": nn.Linear(shape.width, shape.width), "LayerNorm": nn.LayerNorm(shape.width, eps=1e-12)}
        )
        self.decoder = nn.Linear(shape.width, shape.vocabulary)

    def forward(self, hidden: Tensor) -> Tensor:
        x = nn.functional.gelu(self.transform["dense"](hidden))
        logits: Tensor = self.decoder(self.transform["LayerNorm"](x))
        return logits
