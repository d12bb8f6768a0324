"""The command line's parser: what is wrong is said in one line, with a suggestion."""

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from ..errors import shortened
from .terminal import BAD_INPUT, answer, remark

_OPTION = re.compile(r"--?[A-Za-z][\w-]*(?==|$)")
"""A word that is meant as an option: `--max-tokens`, `--image=a.png`, `-image`."""

_LONG = re.compile(r"(?<=')[^']{81,}(?=')|\S{81,}")
"""What a message repeats of the words typed, in quotes or not."""


class Parser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        """End with one line; argparse's own would show the usage as well."""
        message = _LONG.sub(lambda found: shortened(found[0]), message)
        remark(f"{self.prog}: error: {message}")
        self.exit(BAD_INPUT)

    def print_help(self, file: Any = None) -> None:
        """The help as an answer: a full disk is an error, as with any other."""
        answer(self.format_help(), end="")

    def options(self) -> list[argparse.Action]:
        """What may be given, in the order of the help."""
        return self._actions

    def option_names(self) -> list[str]:
        """Every spelling of every option."""
        return [name for action in self.options() for name in action.option_strings]

    def check_options(self, words: Sequence[str]) -> None:
        """Refuse a word that is meant as an option and is none, before all else.

        argparse would rather say that another argument is missing.
        """
        names = self.option_names()
        for word in words:
            if word == "--":
                return
            found = _OPTION.match(word)
            if found and not self._knows(found[0], names):
                self.error(
                    f"there is no option {shortened(found[0])}"
                    + (_suggested_option(found[0], names) or self.hint())
                )

    def hint(self) -> str:
        """Where help is to be found."""
        program, _, verb = self.prog.partition(" ")
        return f"; see {program} help{' ' + verb if verb else ''}"

    def _knows(self, name: str, names: Iterable[str]) -> bool:
        if name in names:
            return True
        begun = self.allow_abbrev and name.startswith("--")
        return begun and any(each.startswith(name) for each in names)


def suggested(word: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """Which of some words is meant by a misspelt one, as the end of a sentence."""
    near = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=likeness)
    return f"; did you mean {near[0]}?" if near else ""


def _suggested_option(name: str, names: Iterable[str]) -> str:
    plain = f"--{name.lstrip('-').replace('_', '-')}"
    # the two dashes that all begin with count as alike
    return suggested(plain, [n for n in names if n.startswith("--")], likeness=0.7)
