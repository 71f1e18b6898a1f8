"""Writing files so that nothing half-written ever stands under its final name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medfm.errors import OutputExistsError, SourceError


@contextmanager
def writing(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a temporary path beside `target` with the same suffix, and rename it to `target` when all went well.

    Raises:
        OutputExistsError: `target` exists and `overwrite` is not set.
        SourceError: it cannot be written (no such folder, no rights, a full disk); nothing half-written stays.
    """
    if target.exists() and not overwrite:
        raise OutputExistsError(str(target))
    suffix = "".join(target.suffixes[-2:]) if target.name.endswith(".nii.gz") else target.suffix
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".medfm-", suffix=suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        raise SourceError(f"{target}: {(error.strerror or str(error)).lower()}; nothing was written") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)  # the only way to read it is to set it
    os.umask(mask)
    return mask
