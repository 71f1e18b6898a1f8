"""Shell completion: prints a script that asks `medfm completion --words` for ids and words as they are typed."""

from __future__ import annotations

from medfm.cli import COMMANDS
from medfm.cli.arguments import Parser

_BASH = """_medfm() {
  local words
  words="$(medfm completion --words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)"
  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
  [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _medfm medfm
"""
_ZSH = """#compdef medfm
_medfm() {
  local -a found
  found=(${(f)"$(medfm completion --words "${(@)words[2,CURRENT]}" 2>/dev/null)"})
  compadd -a found || _files
}
compdef _medfm medfm
"""
_FISH = """complete -c medfm -a '(medfm completion --words (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def completion(arguments: list[str]) -> int:
    if arguments[:1] == ["--words"]:
        print("\n".join(_words(arguments[1:])))
        return 0
    parser = Parser(
        "completion",
        "Print a shell script that completes commands, ids, filters and words.",
        ["bash >> ~/.bashrc", "zsh > ~/.zfunc/_medfm", "fish > ~/.config/fish/completions/medfm.fish"],
    )
    parser.add_argument("shell", choices=list(_SCRIPTS), help="which shell")
    print(_SCRIPTS[parser.parse_args(arguments).shell], end="")
    return 0


def _words(typed: list[str]) -> list[str]:
    """Return what may follow: `typed` holds the words after `medfm`, the last one being typed."""
    if len(typed) < 2:
        return list(COMMANDS)
    from medfm.catalog.facets import BOUNDS, FACETS, KIND_NAMES, VOCABULARY
    from medfm.catalog.index import Index

    command, before, word = typed[0], typed[-2], typed[-1]
    if before.startswith("--") and command in ("list", "cite"):
        with Index.open() as index:
            facet = VOCABULARY.get(before[2:], before[2:])
            return index.words(facet) or index.ids()
    if word.startswith("--"):
        kind = next((k for k, plural in KIND_NAMES.items() if typed[1] in (k, plural)), "model")
        return [f"--{name}" for name in (*FACETS[kind], *BOUNDS.get(kind, {}), "json", "csv", "help")]
    if command == "list":
        return list(KIND_NAMES.values())
    with Index.open() as index:
        return index.ids()
