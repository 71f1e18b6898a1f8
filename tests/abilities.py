"""What a record says that a model can do against what its network can do."""

from __future__ import annotations

from medfm.catalog.vocabulary import Taxonomy
from medfm.runtime import capabilities
from medfm.runtime.runner import Runner

# Method -> parts of the record's output, one of which describes what it gives.
DESCRIBED = {
    "embed": ("embedding",),
    "embed_text": ("text_embedding",),
    "classify": ("scores", "zero_shot"),
    "retrieve": ("zero_shot",),
    "segment": ("segmentation", "prompts"),
    "detect": ("events",),
    "generate": ("text",),
}


def contradictions(runner: Runner, taxonomy: Taxonomy) -> list[str]:
    """Return every method on which the record's tasks or outputs and the network disagree.

    A record may name further tasks: those that a model serves once it was adapted, or with parts that are not released.
    """
    tasks = {above for task in runner.record.tasks for above in taxonomy.above("task", task)}
    found = [
        f"{method}: the network can, but the tasks are {sorted(tasks)}"
        for method, served in capabilities.TASKS.items()
        if method in runner.can and not tasks & set(served)
    ]
    for method, parts in DESCRIBED.items():
        there = any(getattr(runner.record.output, part) is not None for part in parts)
        if (method in runner.can) != there:
            can = "can" if method in runner.can else "cannot"
            found.append(
                f"{method}: the network {can}, and output.{' or .'.join(parts)} is {'there' if there else 'missing'}"
            )
    return found
