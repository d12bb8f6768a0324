"""Which of the choices A, B, C… an answer names, as each benchmark reads it."""

import re
from collections.abc import Iterator, Sequence

from .exact import same_words

_OPENING_LETTER = re.compile(r"\s*([A-Z])\.")

_WRAPPING = ",.!?;:'\""
"""Signs around an answer, taken off one after another in this order."""

_PHRASES = tuple(
    "the answer is|answer is|the correct answer is|correct answer is|"
    "the best answer is|best answer is|the correct option is|correct option is|"
    "the best option is|best option is|the choice is|choice is|the correct choice is|"
    "correct choice is|i choose|i select|i pick|my answer is|my choice is|"
    "옵션|정답은|답은|답:|答案是|答案为|选|答えは".split("|")
)
"""What comes before an answer in a sentence (mcq_extract of lmms-eval 0.7.3)."""

_FORMS = (("({})", 6), ("{}.", 5), ("{}:", 4), ("{})", 3), ("{} ", 2))
"""How a letter may be written, and how sure that form is of being the answer."""

_AT_START, _AT_END, _AFTER_PHRASE = 10, 9, 7

Candidate = tuple[int, int, str]
"""How sure, where in the text, and which letter."""


def ai2d(answer: str, right: str) -> float:
    """1 for the letter, alone or with a full stop and anything after it."""
    opening = _OPENING_LETTER.match(answer)
    return same_words(opening[1] if opening else answer, right)


def scienceqa(answer: str, right: str) -> float:
    """1 for the letter alone in any case, or a capital with a full stop first."""
    if answer.lower() == right.lower():
        return 1.0
    begins = answer[:1].isupper() and answer[1:2] == "."
    return float(begins and answer[0].lower() == right.lower())


def seedbench(answer: str, right: str) -> float:
    """1 if the first letter of the answer is the right one, in any case."""
    return float(answer[:1].lower().strip() == right.lower().strip())


def realworldqa(answer: str, right: str) -> float:
    """1 for the letter in any wording; 1 for the very words where none is asked for."""
    right = right.strip()
    if right.upper() in tuple("ABCD"):
        return float(named_letter(answer, "ABCD") == right.upper())
    return float(answer.lower().strip().rstrip(".") == right.lower())


def named_letter(answer: str, letters: Sequence[str]) -> str:
    """The letter that an answer most surely names; "" if there is none.

    A letter that begins or ends the answer is surest, then one after a phrase such as
    "the answer is", then one in brackets. Of equally sure ones the last in the text.
    """
    text = answer.strip()
    if not text:
        return ""
    for sign in _WRAPPING:
        text = text.strip(sign)
    found = list(_candidates(f" {text} ", letters)) or [
        (0, text.rfind(letter), letter) for letter in letters if letter in text
    ]
    # of equals the first in order of letters: `max` keeps the first of its maxima
    return max(found, key=lambda c: c[:2])[2] if found else ""


def _candidates(text: str, letters: Sequence[str]) -> Iterator[Candidate]:
    """From the text between two blanks."""
    core, lower = text.strip(), text.lower()
    ends = [at + len(p) for p in _PHRASES if (at := lower.find(p)) >= 0]
    for letter in letters:
        for form, sure in _FORMS:
            if (place := text.rfind(form.format(letter))) >= 0:
                yield sure, place, letter
        for end in ends:
            if (place := text.find(letter, end)) >= 0:
                yield _AFTER_PHRASE, place, letter
        if core.startswith(letter) and not core[1:2].isalpha():
            yield _AT_START, 0, letter
        if core.endswith(letter) and not core[-2:-1].isalpha():
            yield _AT_END, len(text) - 1, letter
