"""The command line: `medfm COMMAND ...`. Each command's module is imported only when the command runs."""

from __future__ import annotations

import os
import sys

# command -> (module, one line of help), in the order in which the help shows them.
COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("lookup", "list records of one kind, with filters"),
    "show": ("lookup", "show one record with the source of every fact"),
    "search": ("lookup", "search names, synonyms and summaries"),
    "compare": ("lookup", "compare records side by side"),
    "cite": ("lookup", "give BibTeX for records, filters and searches"),
    "graph": ("lookup", "show what a record was made from and what was made from it"),
    "leakage": ("lookup", "tell whether a test set was seen in training, also through ancestors"),
    "check": ("records", "check the catalog, or single files, and explain what is wrong"),
    "draft": ("drafting", "write a first record of a model from its hub repository"),
    "schema": ("records", "write the JSON Schema of every kind of record"),
    "export": ("records", "export the catalog as JSON, CSV, SQLite or BibTeX"),
    "links": ("links", "check the catalog's addresses and keep a ledger"),
    "pages": ("site", "write the pages of the site as Markdown and JSON"),
    "contract": ("contracts", "show a model's input and output contract, or explain it on a file"),
    "fetch": ("running", "fetch and verify the weights of a model, or a sample"),
    "run": ("running", "run a model on files: embed, classify, segment, detect, generate"),
    "demo": ("demo", "run four models on real inputs and write results and pictures"),
    "completion": ("completion", "print shell completion for bash, zsh or fish"),
}

_HELP = """usage: medfm COMMAND [OPTIONS]

The curated zoo and knowledge base of medical foundation models. For research use only.

{commands}

examples:
  medfm search "chest x-ray report"
  medfm list --modality ct --status open
  medfm show uni2-h
  medfm compare uni uni2-h virchow2 --markdown
  medfm run deepbet t1.nii.gz -o brain.nii.gz

`medfm COMMAND --help` tells more. Exit codes: 0 all well, 1 a check found problems or an input failed, 2 bad use."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0] in ("-h", "--help", "help"):
        print(_HELP.format(commands="\n".join(f"  {name:<11} {text}" for name, (_, text) in COMMANDS.items())))
        return 0 if given else 2
    if given[0] in ("-V", "--version"):
        from medfm import __version__

        print(f"medfm {__version__}")
        return 0
    try:
        return _run(given[0], given[1:])
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("\nmedfm: interrupted; what was finished is kept", file=sys.stderr)
        return 130


def _run(command: str, arguments: list[str]) -> int:
    from importlib import import_module

    try:
        if command not in COMMANDS:
            from medfm.errors import UnknownIdError, near_misses

            raise UnknownIdError("command", command, near_misses(command, COMMANDS))
        module = import_module(f"medfm.cli.{COMMANDS[command][0]}")
        code: int = getattr(module, command.replace("list", "list_"))(arguments)
    except Exception as error:
        from medfm.errors import MedfmError  # only failures pay for it

        if not isinstance(error, MedfmError):
            raise
        print(f"medfm: {error}", file=sys.stderr)
        return 2
    sys.stdout.flush()
    return code
