"""Other backends and numbers of fewer bits give the same vectors, or say why they cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medfm.errors import UsageError
from medfm.runtime import loading
from medfm.runtime.loading import load
from medfm.runtime.runner import Runner
from tests import small


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.weights(tmp_path_factory.mktemp("weights"))


def runner(weights: Path, **how: str) -> Runner:
    return load(small.record(), weights={"weights": weights}, progress=False, **how)  # type: ignore[arg-type]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def test_openvino_gives_the_vectors_of_torch(weights: Path, tmp_path: Path) -> None:
    paths = small.pictures(tmp_path, 5)
    expected = runner(weights).embed(paths).vectors
    found = runner(weights, backend="openvino").embed(paths, batch_size=2).vectors  # the last batch is smaller
    assert np.abs(found - expected).max() < 1e-4
    assert cosine(found, expected) > 1 - 1e-6


@pytest.mark.skipif(not loading.computes_in_bfloat16(), reason="this processor does not compute in bfloat16")
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_bfloat16_is_close(backend: str, weights: Path, tmp_path: Path) -> None:
    paths = small.pictures(tmp_path, 3)
    expected = runner(weights).embed(paths).vectors
    assert cosine(runner(weights, backend=backend, dtype="bfloat16").embed(paths).vectors, expected) > 0.999


def test_what_a_machine_cannot_do_is_said(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "computes_in_bfloat16", lambda: False)
    with pytest.raises(UsageError, match="does not compute in bfloat16"):
        runner(weights, dtype="bfloat16")
    with pytest.raises(UsageError, match="backend is torch, or openvino on a CPU; not 'tpu'"):
        runner(weights, backend="tpu")


@pytest.mark.network
def test_openvino_refuses_what_is_no_image_encoder() -> None:
    with pytest.raises(UsageError, match="serves image encoders; sceptr is run by torch alone"):
        load("sceptr", backend="openvino", progress=False)
