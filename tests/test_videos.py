"""Reading videos: which frames are taken, and what is refused."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from medfm.catalog.image_steps import Normalize
from medfm.catalog.video_steps import PadFrames, ReadVideo
from medfm.errors import InputError
from medfm.runtime import contract, videos
from medfm.runtime.state import Options
from tests.dicoms import dicom, save

EVERY_SECOND = ReadVideo(modality="echocardiography", frames=4, stride=2, short="repeat")
BY_TIME = ReadVideo(modality="endoscopy", frames=4, stride=4, rate=30, spread="ends", short="repeat")


@pytest.fixture
def frames() -> np.ndarray:
    """Return ten frames that tell their number, in colors."""
    found = np.zeros((10, 12, 16, 3), dtype=np.uint8)
    found[..., 0] = np.arange(10)[:, None, None] * 20
    found[..., 1] = 7
    return found


def avi(frames: np.ndarray, path: Path, rate: int = 25) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def taken(video: videos.Video) -> list[int]:
    return [int(n) for n in video.frames[:, 0, 0, 0] // 20]


def test_files_and_arrays_give_the_frames_that_the_contract_counts(frames: np.ndarray, tmp_path: Path) -> None:
    for source in (frames, avi(frames, tmp_path / "a.avi"), save(dicom_of(frames), tmp_path / "a.dcm")):
        video = videos.read(EVERY_SECOND, source, Options())
        assert taken(video) == [0, 2, 4, 6]
        np.testing.assert_array_equal(video.frames, frames[[0, 2, 4, 6]])
        assert not video.notes


def dicom_of(frames: np.ndarray, **tags: object) -> object:
    gray = dicom(frames[..., 0], **tags)
    gray.SamplesPerPixel, gray.PhotometricInterpretation, gray.PlanarConfiguration = 3, "RGB", 0
    gray.PixelData = frames.tobytes()
    return gray


def test_gray_frames_become_three_channels_and_monochrome1_is_inverted(frames: np.ndarray, tmp_path: Path) -> None:
    file = save(dicom(frames[..., 0], PhotometricInterpretation="MONOCHROME1"), tmp_path / "a.dcm")
    np.testing.assert_array_equal(videos.read(EVERY_SECOND, file, Options()).frames[1, 0, 0], [255 - 40] * 3)
    assert videos.read(EVERY_SECOND, frames[..., 0], Options()).frames.shape == (4, 12, 16, 3)


def test_a_video_that_ends_too_early_repeats_its_last_frame_or_is_filled_up(frames: np.ndarray) -> None:
    video = videos.read(EVERY_SECOND, frames[:4], Options())
    assert taken(video) == [0, 2, 3, 3]
    assert "2 of 4 frames too early" in video.notes[0]
    leave = EVERY_SECOND.model_copy(update={"short": "leave"})
    steps = (leave, Normalize(mean=(1.0,), std=(2.0,)), PadFrames(frames=4, value=-9.0))
    prepared = contract.prepare(steps, contract.read(steps, frames[:4]))
    assert prepared.batch["image"].shape == (1, 3, 4, 12, 16)
    assert prepared.batch["image"][0, 0, :, 0, 0].tolist() == [-0.5, 19.5, -9, -9]


def test_frames_are_counted_in_time_where_the_contract_does(frames: np.ndarray, tmp_path: Path) -> None:
    assert videos.numbers(BY_TIME, 30) == torch.linspace(0, 15, 4).long().tolist()
    assert videos.numbers(BY_TIME, 15) == torch.linspace(0, 7, 4).long().tolist()
    assert taken(videos.read(BY_TIME, avi(frames, tmp_path / "a.avi", rate=15), Options())) == [0, 2, 4, 7]
    file = save(dicom_of(frames, FrameTime=1000 / 15), tmp_path / "a.dcm")
    assert taken(videos.read(BY_TIME, file, Options())) == [0, 2, 4, 7]


def test_a_missing_frame_rate_is_asked_for(frames: np.ndarray) -> None:
    with pytest.raises(InputError, match="--sampling-rate") as caught:
        videos.read(BY_TIME, frames, Options())
    assert caught.value.flag == "sampling_rate"
    assert taken(videos.read(BY_TIME, frames, Options(sampling_rate=15))) == [0, 2, 4, 7]
    assert "30 frames per second assumed" in videos.read(BY_TIME, frames, Options(strict=False)).notes[0]


def test_what_is_no_video_is_told(frames: np.ndarray, tmp_path: Path) -> None:
    text = tmp_path / "a.mp4"
    text.write_text("no video")
    cut = avi(frames, tmp_path / "b.avi")
    cut.write_bytes(cut.read_bytes()[:300])
    deep = save(dicom(frames[..., 0].astype(np.uint16)), tmp_path / "c.dcm")
    for source, words in (
        (text, "no video that can be read"),
        (cut, "no video that can be read|no frames"),
        (deep, "16 bits"),
        (tmp_path / "none.mp4", "no such file"),
        (frames.astype(float), "expected uint8"),
        (7, "expected a video's path"),
    ):
        with pytest.raises(InputError, match=words):
            videos.read(EVERY_SECOND, source, Options())


def test_a_clip_with_more_frames_than_it_is_filled_up_to_is_refused(frames: np.ndarray) -> None:
    steps = (EVERY_SECOND, PadFrames(frames=3))
    with pytest.raises(InputError, match="more than the 3"):
        contract.prepare(steps, contract.read(steps, frames))


def test_frames_cannot_be_spread_where_each_is_taken() -> None:
    with pytest.raises(ValueError, match="no meaning"):
        ReadVideo(modality="endoscopy", frames=4, spread="ends", short="repeat")
