"""Makes small DICOM files for the tests: single pictures and series, with any of the traps that real ones hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def dicom(pixels: np.ndarray, **tags: Any) -> Dataset:
    """Return a data set with pixels (rows, columns), (frames, rows, columns) or (rows, columns, 3)."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID = "1.2.3"
    color = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
    frames = pixels.shape[0] if pixels.ndim == 3 and not color else 1
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.Rows, dataset.Columns = pixels.shape[:2] if pixels.ndim == 2 or color else pixels.shape[1:]
    dataset.SamplesPerPixel = 3 if color else 1
    dataset.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
    if color:
        dataset.PlanarConfiguration = 0
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def series(folder: Path, volume: np.ndarray, affine: np.ndarray, *, seed: int = 0, **tags: Any) -> list[Path]:
    """Write a volume (columns, rows, slices) of HU as one CT slice a file, named in an order of its own.

    Args:
        affine: voxel indices to mm in RAS+.
        seed: shuffles the file names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    names = np.random.default_rng(seed).permutation(volume.shape[2])
    paths = []
    for k in range(volume.shape[2]):
        position = lps[:3, 3] + lps[:3, 2] * k
        orientation = [*(lps[:3, 0] / spacing[0]), *(lps[:3, 1] / spacing[1])]
        stored = (volume[:, :, k].T + 1024).astype(np.int16)
        dataset = dicom(
            np.ascontiguousarray(stored),
            Modality="CT",
            ImagePositionPatient=[f"{v:.8g}" for v in position],
            ImageOrientationPatient=[f"{v:.8g}" for v in orientation],
            PixelSpacing=[f"{spacing[1]:.8g}", f"{spacing[0]:.8g}"],
            RescaleSlope="1",
            RescaleIntercept="-1024",
            **tags,
        )
        paths.append(save(dataset, folder / f"{names[k]:03d}.dcm"))
    return paths


def enhanced(volume: np.ndarray, affine: np.ndarray) -> Dataset:
    """Return a volume as one multi-frame data set whose geometry stands in functional groups."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)

    def part(**tags: Any) -> Sequence:
        item = Dataset()
        for name, value in tags.items():
            setattr(item, name, value)
        return Sequence([item])

    shared = Dataset()
    shared.PixelMeasuresSequence = part(PixelSpacing=[f"{spacing[1]:.8g}", f"{spacing[0]:.8g}"])
    orientation = [f"{v:.8g}" for v in (*(lps[:3, 0] / spacing[0]), *(lps[:3, 1] / spacing[1]))]
    shared.PlaneOrientationSequence = part(ImageOrientationPatient=orientation)
    shared.PixelValueTransformationSequence = part(RescaleSlope="1", RescaleIntercept="-1024")
    own = []
    for k in range(volume.shape[2]):
        frame = Dataset()
        frame.PlanePositionSequence = part(ImagePositionPatient=[f"{v:.8g}" for v in lps[:3, 3] + lps[:3, 2] * k])
        own.append(frame)
    stored = np.ascontiguousarray((volume.transpose(2, 1, 0) + 1024).astype(np.int16))
    return dicom(
        stored,
        Modality="CT",
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(own),
    )
