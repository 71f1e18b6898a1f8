from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

import medfm
from medfm.errors import InputError
from medfm.evaluation import metrics

masks = st_numpy.arrays(np.uint8, (4, 3, 5), elements=st.integers(0, 1))


@given(masks, masks)
def test_dice_and_iou_are_two_views_of_one_overlap(a: np.ndarray, b: np.ndarray) -> None:
    dice, iou = metrics.dice(a, b), metrics.intersection_over_union(a, b)
    assert dice == pytest.approx(2 * iou / (1 + iou))
    assert dice == metrics.dice(b, a)
    assert 0 <= iou <= dice <= 1
    assert metrics.dice(a, a) == 1


@settings(deadline=None)  # the first call imports torchmetrics
@given(masks, masks)
def test_dice_equals_that_of_torchmetrics(a: np.ndarray, b: np.ndarray) -> None:
    import torch
    from torchmetrics.functional.segmentation import dice_score

    if not (a.any() or b.any()):
        return  # torchmetrics gives 0 for two empty masks; the record of the metric says so
    theirs = dice_score(torch.tensor(a)[None, None], torch.tensor(b)[None, None], num_classes=1, input_format="one-hot")
    assert metrics.dice(a, b) == pytest.approx(float(theirs.mean()), abs=1e-6)


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="different shapes"):
        metrics.dice(np.zeros((2, 2)), np.zeros((2, 3)))


def test_every_implementation_of_medfm_that_a_record_names_exists() -> None:
    named = [
        name
        for metric in medfm.Catalog.load().metrics.values()
        for name in metric.implementation
        if name.startswith("medfm.")
    ]
    assert named
    for name in named:
        assert callable(getattr(metrics, name.rpartition(".")[2])), name
