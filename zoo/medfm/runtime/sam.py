"""The networks of Segment Anything and its medical relatives, in two or three dimensions.

Written from the paper (Kirillov et al. 2023, section 3 and appendix A), the papers of the relatives and the key names of their
checkpoints, which are this module's own names. What the relatives changed is data: adapters (Cheng et al. 2023, SAM-Med2D), a
third dimension (Wang et al. 2024, SAM-Med3D), another encoder (`medfm.runtime.tiny_vit`).

Grids are (height, width) or (x, y, z); prompts are (x, y) in two dimensions, and in the order of the grid in three.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
CONV_TRANSPOSE = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_AXES = {2: "hw", 3: "dhw"}
_LARGEST_BIAS = 2**26  # numbers in one piece of attention logits: 256 MB


class ChannelNorm(nn.Module):
    """Layer normalization over the channels of (n, channels, *grid)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input."""
        return functional.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, 1e-6).movedim(-1, 1)


def neck(dimensions: int, width: int, out: int) -> nn.Sequential:
    """Return what ends an image encoder: (n, width, *grid) to (n, out, *grid)."""
    conv = CONV[dimensions]
    return nn.Sequential(
        conv(width, out, 1, bias=False),
        ChannelNorm(out),
        conv(out, out, 3, padding=1, bias=False),
        ChannelNorm(out),
    )


class Perceptron(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, width: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        self.lin1, self.lin2, self.act = nn.Linear(width, hidden), nn.Linear(hidden, width), activation

    def forward(self, x: Tensor) -> Tensor:
        """Return the transformed input."""
        y: Tensor = self.lin2(self.act(self.lin1(x)))
        return y


# ---------------------------------------------------------------- the image encoder


class ImageEncoder(nn.Module):
    """A plain vision transformer with windows and relative positions (Li et al. 2022, ViTDet).

    Args:
        dimensions: 2 or 3.
        side: of the input along each axis, in pixels or voxels.
        channels: of the input.
        patch: side of a patch.
        width, depth, heads: of the transformer.
        window: side of a window, in patches.
        everywhere: blocks whose attention sees the whole grid, by number.
        out: channels of the embedding; None for the transformer's own output.
        adapters: whether each block has an adapter beside its perceptron.
        positions: whether absolute positions are added to the patches.
    """

    def __init__(
        self,
        *,
        dimensions: int,
        side: int,
        channels: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        window: int,
        everywhere: Sequence[int],
        out: int | None,
        adapters: bool,
        positions: bool = True,
    ) -> None:
        super().__init__()
        grid = (side // patch,) * dimensions
        self.patch_embed = nn.ModuleDict({"proj": CONV[dimensions](channels, width, patch, stride=patch)})
        self.pos_embed = nn.Parameter(torch.zeros(1, *grid, width)) if positions else None
        self.blocks = nn.ModuleList(
            _Block(width, heads, grid, 0 if i in everywhere else window, adapters) for i in range(depth)
        )
        self.neck = nn.Identity() if out is None else neck(dimensions, width, out)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, out, *patches) for (n, channels, *side); without absolute positions, the input may be smaller."""
        x = self.patch_embed["proj"](x).movedim(1, -1)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.neck(x.movedim(-1, 1))
        return y


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, grid: Sequence[int], window: int, adapters: bool) -> None:
        super().__init__()
        self.window = window
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = _RelativeAttention(width, heads, (window,) * len(grid) if window else grid)
        self.mlp = Perceptron(width, 4 * width, nn.GELU())
        self.Adapter = _Adapter(width) if adapters else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        if self.window:
            windows, padded = partition(y, self.window)
            y = join(self.attn(windows), padded, x.shape[1:-1])
        else:
            y = self.attn(y)
        x = x + y
        y = self.norm2(x)
        x = x + self.mlp(y)
        return x if self.Adapter is None else x + self.Adapter(y)


class _RelativeAttention(nn.Module):
    """Self-attention over a grid, with a learned bias for the distance along each axis."""

    def __init__(self, width: int, heads: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.axes = [f"rel_pos_{axis}" for axis in _AXES[len(grid)]]
        for name, size in zip(self.axes, grid, strict=True):
            setattr(self, name, nn.Parameter(torch.zeros(2 * size - 1, width // heads)))

    def forward(self, x: Tensor) -> Tensor:
        n, *grid, width = x.shape
        count = math.prod(grid)
        q, k, v = self.qkv(x).reshape(n, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        # Attention in pieces of heads and windows: a whole picture's logits would be gigabytes.
        piece = max(1, _LARGEST_BIAS // (count * count))
        flat = [t.reshape(n * self.heads, count, -1) for t in (q, k, v)]
        parts = [
            functional.scaled_dot_product_attention(a[:, None], b[:, None], c[:, None], attn_mask=self._bias(a, grid))
            for a, b, c in zip(*(t.split(piece) for t in flat), strict=True)
        ]
        y = torch.cat(parts).reshape(n, self.heads, count, -1).transpose(1, 2).reshape(n, *grid, width)
        projected: Tensor = self.proj(y)
        return projected

    def _bias(self, q: Tensor, grid: Sequence[int]) -> Tensor:
        """Return (pieces, 1, queries, keys): the sum over the axes of query times position of distance."""
        queries = q.reshape(len(q), *grid, -1)
        bias: Tensor | None = None
        for i, (name, size) in enumerate(zip(self.axes, grid, strict=True)):
            steps = torch.arange(size, device=q.device)
            distances = _resized(getattr(self, name), 2 * size - 1)
            positions = distances[steps[:, None] - steps[None] + size - 1]  # (query, key, channels)
            along = torch.einsum("...qc,qkc->...qk", queries.movedim(1 + i, -2), positions).movedim(-2, 1 + i)
            part = along.reshape(self._shape(i, grid))
            bias = part if bias is None else bias + part
        assert bias is not None
        count = math.prod(grid)
        return bias.reshape(len(q), 1, count, count)

    def _shape(self, axis: int, grid: Sequence[int]) -> list[int]:
        """Return how (queries, keys along an axis) is laid over (queries, keys)."""
        if len(grid) == 2:
            return [-1, *grid, *(size if i == axis else 1 for i, size in enumerate(grid))]
        # In three dimensions the authors' code sets the axes of its terms elsewhere: all distances lie along the last axis of the
        # keys, and those of the second and third term take the third axis of the queries for the keys' first and second. The
        # published weights were trained so.
        d, h, w = grid
        return [-1, d, h, *[(w, 1, 1), (1, w, 1), (1, 1, w)][axis], w]


def _resized(distances: Tensor, count: int) -> Tensor:
    """Return positions of another number of distances, between those that were learned."""
    if len(distances) == count:
        return distances
    return functional.interpolate(distances.T[None], count, mode="linear")[0].T


class _Adapter(nn.Module):
    """Weights channels by what the whole picture shows, then mixes neighbors at half the resolution (SAM-Med2D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.channel = nn.Sequential(
            nn.Linear(width, width // 4, bias=False), nn.ReLU(), nn.Linear(width // 4, width, bias=False), nn.Sigmoid()
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1, bias=False),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        weighted = (self.channel(x.mean((1, 2)))[:, None, None] * x).movedim(-1, 1)
        mixed: Tensor = self.norm(x + self.spatial(weighted).movedim(1, -1))
        return mixed


def partition(x: Tensor, window: int) -> tuple[Tensor, tuple[int, ...]]:
    """Cut (n, *grid, channels) into windows, zeros added behind; return them and the grid with the zeros."""
    n, *grid, channels = x.shape
    missing = [-size % window for size in grid]
    x = functional.pad(x, [0, 0, *(value for size in reversed(missing) for value in (0, size))])
    padded = tuple(x.shape[1:-1])
    x = x.reshape(n, *(part for size in padded for part in (size // window, window)), channels)
    dimensions = len(grid)
    order = [0, *range(1, 2 * dimensions, 2), *range(2, 2 * dimensions + 1, 2), 2 * dimensions + 1]
    return x.permute(order).reshape(-1, *(window,) * dimensions, channels), padded


def join(windows: Tensor, padded: Sequence[int], grid: Sequence[int]) -> Tensor:
    """Undo `partition`."""
    window, dimensions = windows.shape[1], len(grid)
    counts = [size // window for size in padded]
    x = windows.reshape(-1, *counts, *(window,) * dimensions, windows.shape[-1])
    order = [0, *(axis for i in range(dimensions) for axis in (1 + i, 1 + dimensions + i)), 2 * dimensions + 1]
    x = x.permute(order).reshape(-1, *padded, windows.shape[-1])
    for i, size in enumerate(grid):
        x = x.narrow(1 + i, 0, size)
    return x


# ---------------------------------------------------------------- prompts


class PromptEncoder(nn.Module):
    """Turns points, boxes and rough masks into embeddings.

    Args:
        dimensions: 2 or 3; boxes exist in two dimensions only.
        side: of the network's input.
        grid: of the image embedding, along each axis.
        width: of the embeddings.
    """

    def __init__(self, *, dimensions: int, side: int, grid: int, width: int) -> None:
        super().__init__()
        conv, inner = CONV[dimensions], 16
        self.side, self.grid, self.dimensions = side, grid, dimensions
        self.pe_layer = _Waves(dimensions, width)
        kinds = 4 if dimensions == 2 else 2  # background and foreground points; first and second corner
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(kinds))
        self.not_a_point_embed, self.no_mask_embed = nn.Embedding(1, width), nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            conv(1, inner // 4, 2, stride=2),
            ChannelNorm(inner // 4),
            nn.GELU(),
            conv(inner // 4, inner, 2, stride=2),
            ChannelNorm(inner),
            nn.GELU(),
            conv(inner, width, 1),
        )

    def forward(
        self, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return sparse (n, tokens, width) and dense (n, width, *grid) embeddings of n prompts.

        Args:
            points: (n, k, dimensions) in the network's pixels.
            labels: (n, k): 1 inside, 0 outside.
            boxes: (n, 4): x0, y0, x1, y1 in the network's pixels.
            masks: (n, 1, *4 grid) logits.
        """
        given = next(x for x in (points, boxes, masks) if x is not None)
        tokens = []
        if points is not None and labels is not None:
            if boxes is None:  # the decoder has always seen at least two tokens
                points = torch.cat([points, points.new_zeros(len(points), 1, self.dimensions)], dim=1)
                labels = torch.cat([labels, labels.new_full((len(labels), 1), -1)], dim=1)
            waves = self.pe_layer((points + 0.5) / self.side)
            added = torch.cat([self.not_a_point_embed.weight, *self._kinds()[:2]])[labels + 1]
            tokens.append(torch.where((labels == -1)[..., None], 0.0, waves) + added)
        if boxes is not None:
            waves = self.pe_layer((boxes.reshape(-1, 2, 2) + 0.5) / self.side)
            tokens.append(waves + torch.cat(self._kinds()[2:]))
        width = self.no_mask_embed.weight.shape[1]
        sparse = torch.cat(tokens, dim=1) if tokens else given.new_zeros(len(given), 0, width)
        if masks is not None:
            return sparse, self.mask_downscaling(masks)
        shape = (len(given), width, *(self.grid,) * self.dimensions)
        return sparse, self.no_mask_embed.weight.reshape(1, -1, *(1,) * self.dimensions).expand(shape)

    def _kinds(self) -> list[Tensor]:
        return [cast(nn.Embedding, kind).weight for kind in self.point_embeddings]

    def positions(self) -> Tensor:
        """Return the positional encoding of the image embedding: (1, width, *grid)."""
        centers = (torch.arange(self.grid, device=self.no_mask_embed.weight.device) + 0.5) / self.grid
        axes = torch.meshgrid(*(centers,) * self.dimensions, indexing="ij")
        # (x, y) of rows and columns; in three dimensions the authors exchange the first two axes as well
        encoded: Tensor = self.pe_layer(torch.stack([axes[1], axes[0], *axes[2:]], dim=-1))
        return encoded.movedim(-1, 0)[None]


class _Waves(nn.Module):
    """Random Fourier features of places in [0, 1] (Tancik et al. 2020)."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.zeros(dimensions, width // dimensions))

    def forward(self, places: Tensor) -> Tensor:
        matrix = self.positional_encoding_gaussian_matrix
        angles = 2 * math.pi * ((2 * places - 1).to(matrix.dtype) @ matrix)
        thirds = [angles.sin()] if len(matrix) == 3 else []
        return torch.cat([angles.sin(), angles.cos(), *thirds], dim=-1)


# ---------------------------------------------------------------- the mask decoder


class MaskDecoder(nn.Module):
    """Turns the embeddings of an image and of prompts into masks: one, and three that part an ambiguous prompt.

    Args:
        dimensions: 2 or 3.
        width: of the embeddings.
    """

    def __init__(self, *, dimensions: int, width: int) -> None:
        super().__init__()
        up, count = CONV_TRANSPOSE[dimensions], 4
        self.transformer = _TwoWay(width)
        self.iou_token, self.mask_tokens = nn.Embedding(1, width), nn.Embedding(count, width)
        self.output_upscaling = nn.Sequential(
            up(width, width // 4, 2, stride=2),
            ChannelNorm(width // 4),
            nn.GELU(),
            up(width // 4, width // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(_Layers(width, width, width // 8) for _ in range(count))
        self.iou_prediction_head = _Layers(width, 256, count)

    def forward(self, image: Tensor, positions: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (n, 4, *4 grid) and predicted overlaps (n, 4); the first of the four is the single answer.

        Args:
            image: (1, width, *grid).
            positions: (1, width, *grid).
            sparse: (n, tokens, width).
            dense: (n, width, *grid).
        """
        n = len(sparse)
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(n, -1, -1), sparse], dim=1)
        source = image + dense
        hidden, seen = self.transformer(source, positions.expand_as(source), tokens)
        upscaled = self.output_upscaling(seen.transpose(1, 2).reshape(source.shape))
        filters = torch.stack([mlp(hidden[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1)
        masks = (filters @ upscaled.flatten(2)).reshape(n, len(own) - 1, *upscaled.shape[2:])
        return masks, self.iou_prediction_head(hidden[:, 0])


class _Layers(nn.Module):
    """Three linear layers."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, out)])

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = self.layers
        y: Tensor = third(second(first(x).relu()).relu())
        return y


class _TwoWay(nn.Module):
    """A transformer in which prompts look at the image and the image at the prompts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_TwoWayBlock(width, first=i == 0) for i in range(2))
        self.final_attn_token_to_image = _CrossAttention(width, width // 2)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(self, image: Tensor, positions: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        keys, places = image.flatten(2).transpose(1, 2), positions.flatten(2).transpose(1, 2)
        queries = tokens
        for layer in self.layers:
            queries, keys = layer(queries, keys, tokens, places)
        found = self.final_attn_token_to_image(queries + tokens, keys + places, keys)
        return self.norm_final_attn(queries + found), keys


class _TwoWayBlock(nn.Module):
    def __init__(self, width: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = _CrossAttention(width, width)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(width) for _ in range(4))
        self.cross_attn_token_to_image = _CrossAttention(width, width // 2)
        self.mlp = Perceptron(width, 2048, nn.ReLU())
        self.cross_attn_image_to_token = _CrossAttention(width, width // 2)

    def forward(self, queries: Tensor, keys: Tensor, tokens: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        if self.first:  # the queries are the tokens themselves: no residual either
            queries = self.self_attn(queries, queries, queries)
        else:
            q = queries + tokens
            queries = queries + self.self_attn(q, q, queries)
        queries = self.norm1(queries)
        queries = self.norm2(queries + self.cross_attn_token_to_image(queries + tokens, keys + places, keys))
        queries = self.norm3(queries + self.mlp(queries))
        keys = self.norm4(keys + self.cross_attn_image_to_token(keys + places, queries + tokens, queries))
        return queries, keys


class _CrossAttention(nn.Module):
    """Attention of 8 heads in an inner width of its own."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        projected = (self.q_proj(q), self.k_proj(k), self.v_proj(v))
        heads = [x.unflatten(-1, (8, -1)).transpose(1, 2) for x in projected]
        y: Tensor = self.out_proj(functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
        return y
