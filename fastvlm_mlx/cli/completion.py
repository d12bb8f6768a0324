"""`fastvlm-mlx completion`: what a shell needs to complete the command's words.

Written from the parser itself, so that it is never behind. argparse's actions know
every option, what it may be, and its help.
"""

import argparse
import shlex
from collections.abc import Iterator

from ..resolve import SHORT_NAMES
from .arguments import Verbs, add_everywhere
from .parser import Parser
from .terminal import answer

SHELLS = ("bash", "zsh", "fish")


def add_parser(verbs: Verbs) -> None:
    """Add this verb to the command."""
    parser = verbs.add_parser(
        "completion",
        help="print a script that completes words in a shell",
        description="Print a script by which a shell completes this command's words. "
        'For bash and zsh: eval "$(fastvlm-mlx completion zsh)" in ~/.bashrc or '
        "~/.zshrc; for fish: fastvlm-mlx completion fish | source in config.fish.",
    )
    parser.add_argument("shell", choices=SHELLS)
    add_everywhere(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the script of one shell, from the parsers in `arguments.verbs`."""
    scripts = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    answer("\n".join(scripts[arguments.shell](arguments.verbs)))


def _choices(action: argparse.Action) -> list[str]:
    """What an argument may be; none listed is a file or anything."""
    if "--model" in action.option_strings or action.metavar == "MODEL":
        return list(SHORT_NAMES)
    return [str(choice) for choice in action.choices or ()]


def _options(verb: Parser) -> Iterator[tuple[str, argparse.Action]]:
    for action in verb.options():
        for name in action.option_strings:
            yield name, action


def _about(action: argparse.Action) -> str:
    """An option's help in one line, short enough for a list."""
    text = (action.help or "").replace("%%", "%").split(";")[0].split(" (")[0]
    return " ".join(text.split())


def _bash(verbs: dict[str, Parser]) -> Iterator[str]:
    yield "_fastvlm_mlx() {"
    yield '    local word="${COMP_WORDS[COMP_CWORD]}" verb="${COMP_WORDS[1]}"'
    yield '    local before="${COMP_WORDS[COMP_CWORD-1]}" options= choices='
    yield '    case "$verb" in'
    for name, verb in verbs.items():
        yield f"    {name}) options={shlex.quote(' '.join(verb.option_names()))} ;;"
    yield (
        "    *) " + f"options={shlex.quote(' '.join(verbs['generate'].option_names()))}"
    )
    yield "    esac"
    yield '    case "$verb $before" in'
    for name, verb in verbs.items():
        for option, action in _options(verb):
            if _choices(action):
                words = shlex.quote(" ".join(_choices(action)))
                yield f"    {shlex.quote(f'{name} {option}')}) choices={words} ;;"
    yield "    esac"
    words = shlex.quote(" ".join([*verbs, "help"]))
    yield f'    [ "$COMP_CWORD" = 1 ] && [[ $word != -* ]] && choices={words}'
    yield '    [ "$COMP_CWORD" = 2 ] && case "$verb" in'
    yield f"    help) choices={words} ;;"
    yield f"    completion) choices={shlex.quote(' '.join(SHELLS))} ;;"
    yield "    esac"
    yield '    [[ $word == -* ]] && choices="$options"'
    yield '    COMPREPLY=($(compgen -W "$choices" -- "$word"))'
    yield '    if [ -z "$choices" ] || [ "$COMP_CWORD" = 1 ]; then'
    yield "        compopt -o filenames 2>/dev/null"
    yield "        local name  # bash 3.2, which macOS has, knows no mapfile"
    yield "        while IFS= read -r name; do"
    yield '            COMPREPLY+=("$name")'
    yield '        done < <(compgen -f -- "$word")'
    yield "    fi"
    yield "}"
    yield "complete -F _fastvlm_mlx fastvlm-mlx"


def _zsh(verbs: dict[str, Parser]) -> Iterator[str]:
    yield "#compdef fastvlm-mlx"
    yield "_fastvlm_mlx() {"
    yield "    local -a found"
    yield "    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then"
    yield f"        found=({' '.join([*verbs, 'help'])})"
    yield "        _describe command found"
    yield "        _files"
    yield "        return"
    yield "    fi"
    yield '    case "$words[2] $words[CURRENT-1]" in'
    for name, verb in verbs.items():
        for option, action in _options(verb):
            if _choices(action):
                words = " ".join(map(shlex.quote, _choices(action)))
                pattern = shlex.quote(f"{name} {option}")
                yield f"    {pattern}) compadd -- {words}; return ;;"
    yield f"    'help help') compadd -- {' '.join(verbs)}; return ;;"
    yield f"    'completion completion') compadd -- {' '.join(SHELLS)}; return ;;"
    yield "    esac"
    yield "    [[ $words[CURRENT] == -* ]] || { _files; return }"
    yield '    case "$words[2]" in'
    for name, verb in verbs.items():
        yield f"    {name}) found=({_described(verb)}) ;;"
    yield f"    *) found=({_described(verbs['generate'])}) ;;"
    yield "    esac"
    yield "    _describe option found"
    yield "}"
    yield "compdef _fastvlm_mlx fastvlm-mlx"


def _described(verb: Parser) -> str:
    """Options as zsh's _describe takes them: name:help."""
    return " ".join(
        shlex.quote(f"{name}:{_about(action)}") for name, action in _options(verb)
    )


def _fish(verbs: dict[str, Parser]) -> Iterator[str]:
    command = "complete -c fastvlm-mlx"
    words = " ".join([*verbs, "help"])
    yield f"{command} -n __fish_use_subcommand -a {shlex.quote(words)}"
    for name, verb in verbs.items():
        condition = f"-n '__fish_seen_subcommand_from {name}'"
        for option, action in _options(verb):
            kind = "-l" if option.startswith("--") else "-s"
            line = f"{command} {condition} {kind} {option.lstrip('-')}"
            if action.nargs != 0:
                line += " -r"
            if _choices(action):
                line += f" -f -a {shlex.quote(' '.join(_choices(action)))}"
            yield f"{line} -d {_fish_quote(_about(action))}"
    condition = "-n '__fish_seen_subcommand_from completion'"
    yield f"{command} {condition} -f -a {shlex.quote(' '.join(SHELLS))}"


def _fish_quote(text: str) -> str:
    """fish has backslashes in quotes, unlike other shells."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
