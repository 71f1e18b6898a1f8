"""The way back: from a network's output on the prepared grid to the grid of the input file."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from medfm.catalog import contracts
from medfm.runtime.state import Frame
from medfm.runtime.steps.volume import largest_component, resample


def restore(
    probability: Tensor, frame: Frame, output: contracts.SegmentationOutput
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Turn the network's probabilities into a mask on the input's own grid.

    Args:
        probability: (channels, *prepared grid) float32.
        frame: the way back.
        output: channel, threshold and what is done to the mask.

    Returns:
        (x, y, z) uint8 in the file's own axis order.
    """
    from nibabel import orientations

    box = frame.box or tuple(slice(0, n) for n in frame.shape)
    inside = tuple(s.stop - s.start for s in box)
    mask = (resample(probability[output.channel], inside, output.interpolation) > output.threshold).numpy()
    if output.component == "largest":
        mask = largest_component(mask)
    if output.fill_holes:
        from scipy import ndimage

        mask = ndimage.binary_fill_holes(mask)
    whole = np.zeros(frame.shape, dtype=np.uint8)
    whole[box] = mask
    if frame.orientation is None:
        return whole
    back = orientations.ornt_transform(
        orientations.axcodes2ornt(("R", "A", "S")), orientations.io_orientation(frame.volume.affine)
    )
    return np.ascontiguousarray(orientations.apply_orientation(whole, back))
