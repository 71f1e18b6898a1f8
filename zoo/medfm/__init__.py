"""medfm: the curated zoo and knowledge base of medical foundation models.

>>> import medfm
>>> catalog = medfm.Catalog.load()
>>> catalog.models["uni2-h"].license.weights
'CC-BY-NC-ND-4.0'

Nothing happens at import: every name below is imported when it is first used. For research use only; no model here is a
medical device.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost look-ups 3 ms; type checkers know the name

__version__ = "0.1.0"

if TYPE_CHECKING:
    from medfm.catalog.store import Catalog
    from medfm.errors import MedfmError
    from medfm.runtime.loading import load
    from medfm.runtime.outputs import Embedding, Events, Scores, Segmentation, Text

_HOME = {
    "Catalog": "medfm.catalog.store",
    "MedfmError": "medfm.errors",
    "load": "medfm.runtime.loading",
    "Embedding": "medfm.runtime.outputs",
    "Events": "medfm.runtime.outputs",
    "Scores": "medfm.runtime.outputs",
    "Segmentation": "medfm.runtime.outputs",
    "Text": "medfm.runtime.outputs",
}

__all__ = ["Catalog", "Embedding", "Events", "MedfmError", "Scores", "Segmentation", "Text", "__version__", "load"]


def __getattr__(name: str) -> object:
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'medfm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
