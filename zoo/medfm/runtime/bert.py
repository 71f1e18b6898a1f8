"""BERTs as text towers: their configuration from a record, so that nothing is asked of a hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medfm.errors import MissingExtraError

if TYPE_CHECKING:
    from torch import nn

    from medfm.catalog.weights import Bert


def configuration(bert: Bert) -> Any:
    """Return the `BertConfig` of transformers.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    try:
        from transformers import BertConfig
    except ImportError:
        raise MissingExtraError("transformers", "clip", why="building this model's text tower") from None
    return BertConfig(
        vocab_size=bert.vocabulary,
        hidden_size=bert.width,
        num_hidden_layers=bert.layers,
        num_attention_heads=bert.heads,
        intermediate_size=bert.feedforward,
        max_position_embeddings=bert.positions,
    )


def encoder(bert: Bert) -> nn.Module:
    """Return the `BertModel` of transformers."""
    described = configuration(bert)
    from transformers import BertModel

    network: nn.Module = BertModel(described, add_pooling_layer=bert.pooler)
    return network
