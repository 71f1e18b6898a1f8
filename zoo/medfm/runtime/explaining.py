"""What each step of a contract does to one file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from medfm.catalog import contracts
from medfm.runtime import contract as engine
from medfm.runtime.grids import Turned
from medfm.runtime.inputs import Receptor, Volume

if TYPE_CHECKING:
    from medfm.runtime.runner import Runner


def explain(runner: Runner, source: object, **options: Any) -> list[dict[str, str]]:
    """Return one line a step: its name, the shape and range after it, and its effect.

    Args:
        runner: a loaded model.
        source: one input.
        **options: see `medfm.runtime.contract.Options`.

    Raises:
        InputError: the input cannot be used; the step that refuses it says why.
    """
    lines: list[dict[str, str]] = []
    before: dict[str, str] = {}

    def watch(step: contracts.Step, state: engine.State) -> None:
        line = {"step": step.step, **_describe(state)}
        line["effect"] = _effect(step, state, before, line)
        before.clear()
        before.update(line)
        lines.append(line)

    context = runner.context(options)  # the same context that a run would get
    items = engine.read(runner.record.input, source, context.options)
    if isinstance(items[0], Volume):  # where a box is cut around prompts, it is shown around the volume's middle
        affine = items[0].affine
        middle = (np.array(items[0].data.shape) - 1) / 2
        context = replace(context, around=(affine[:3, :3] @ middle + affine[:3, 3])[None])
    engine.prepare(runner.record.input, items[:1], context, watch)
    return lines


def _describe(state: engine.State) -> dict[str, str]:
    if hasattr(state.value, "getbands"):  # a picture of Pillow's, which need not be installed for volumes
        lowest, highest = zip(*_extrema(state.value), strict=True)
        bands = " ".join(state.value.getbands())
        shape = f"{state.value.height} x {state.value.width} {bands}"
        return {"shape": shape, "range": f"{min(lowest)} to {max(highest)}"}
    tensors = state.outputs or ({"": state.value} if isinstance(state.value, Tensor) else {})
    if not tensors:
        value = state.value
        text = (
            f"{len(value[1])} residues"
            if isinstance(value, tuple)
            else "receptor"
            if isinstance(value, Receptor)
            else ""
        )
        return {"shape": text, "range": ""}
    shapes = ", ".join(f"{name} {_shape(t)}".strip() for name, t in tensors.items())
    ranges = ", ".join(f"{float(t.min()):.4g} to {float(t.max()):.4g}" for t in tensors.values())
    return {"shape": shapes, "range": ranges}


def _extrema(image: Any) -> list[tuple[float, float]]:
    found: Any = image.getextrema()
    return [found] if isinstance(found[0], int | float) else list(found)


def _shape(tensor: Tensor) -> str:
    return " x ".join(str(n) for n in tensor.shape)


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def _effect(step: contracts.Step, state: engine.State, before: dict[str, str], now: dict[str, str]) -> str:
    frame = state.frame
    if isinstance(step, contracts.ReadVolume) and frame:
        spacing = " x ".join(f"{s:.3g}" for s in frame.volume.spacing)
        from nibabel.orientations import aff2axcodes

        return f"stored as {''.join(aff2axcodes(frame.volume.affine))}, {spacing} mm"
    if isinstance(step, contracts.Orient) and frame:
        turn = next(c.turn for c in reversed(frame.changes) if isinstance(c, Turned))
        changed = any(int(axis) != i or flip != 1 for i, (axis, flip) in enumerate(turn))
        return f"turned to {step.axes}" if changed else f"is {step.axes} already"
    if isinstance(step, contracts.Locate | contracts.CropForeground | contracts.CropNonzero) and frame and frame.box:
        return "cropped to " + ", ".join(f"{s.start}:{s.stop}" for s in frame.box)
    if isinstance(step, contracts.Window) and frame and frame.range:
        return f"{frame.range[0]:.4g} to {frame.range[1]:.4g} becomes 0 to 1, clipped"
    if isinstance(step, contracts.ReadImage | contracts.ReadVideo):
        return "; ".join(state.notes) or "read"
    if isinstance(step, contracts.ResizeImage):
        return f"{before['shape']} becomes {now['shape']}, {step.interpolation} ({step.engine})"
    if isinstance(step, contracts.CropImage):
        return f"the middle of {before['shape']}"
    if isinstance(step, contracts.Normalize):
        return f"minus {_numbers(step.mean)}, over {_numbers(step.std)}"
    if isinstance(step, contracts.ToTensor):
        return f"divided by {step.divide:g}, channels {step.channels}"
    if isinstance(step, contracts.Spacing) and frame:
        return f"{before['shape']} become voxels of " + " x ".join(f"{s:.3g}" for s in frame.spacing) + " mm"
    if isinstance(step, contracts.Resize):
        return f"resampled by {step.interpolation}"
    if isinstance(step, contracts.Standardize):
        return f"mean {step.shift:g}, standard deviation {step.scale:g}"
    if before.get("shape") != now["shape"]:
        return f"{before['shape']} becomes {now['shape']}" if before else "read"
    return "read" if not before else ""
