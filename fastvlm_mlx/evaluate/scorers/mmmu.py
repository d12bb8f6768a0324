"""MMMU: letters and short texts found in free wording.

The rules are those of the benchmark's own evaluation
(https://github.com/MMMU-Benchmark/MMMU, eval_utils.py), as lmms-eval 0.7.3 applies
them, but for one: an answer that names no choice is wrong. There a letter is drawn for
it, so that two readings of the same answers differ.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

_OUTER = ",.!?;:'"

_WORDY = 5
"""In answers of more words a choice may be named by its text."""

_LEADS = tuple(
    f"{word} "
    for word in "could be|so|is|thus|therefore|final|answer|result".split("|")
)
_EQUALS = "="  # a lead in the last line only

_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)
"""With commas, with an exponent, and plain."""

Value = str | float


def multiple_choice(answer: str, choices: Mapping[str, str], right: str) -> float:
    """1 if the answer names the right one of the choices, else 0.

    Args:
        choices: their texts by their letters, in order.
        right: a letter.
    """
    return float(chosen_letter(answer, choices) == right)


def open_question(answer: str, right: Sequence[str]) -> float:
    """1 if a right text is in the answer's key parts, or a right number among them."""
    accepted = {value for each in right for value in _values(each)}
    texts = [value for value in accepted if isinstance(value, str)]
    for value in key_values(answer):
        if isinstance(value, float):
            if value in accepted:
                return 1.0
        elif any(text in value for text in texts):
            return 1.0
    return 0.0


def chosen_letter(answer: str, choices: Mapping[str, str]) -> str | None:
    """The letter that an answer names, the last one if there are several."""
    for sign in _OUTER:
        answer = answer.strip(sign)
    text = f" {answer} "
    for written, sought in (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")):
        found = [c for c in choices if written.format(c) in text]
        if found:
            return max(found, key=lambda c: text.rfind(sought.format(c)))
    if len(text.split()) > _WORDY:
        lower = text.lower()
        places = {c: lower.rfind(said.lower()) for c, said in choices.items()}
        found = [c for c, place in places.items() if place >= 0]
        return max(found, key=lambda c: places[c], default=None)
    return None


def key_values(answer: str) -> set[Value]:
    """What an answer may be taken to say: its key parts and the numbers in them."""
    parts = list(_key_parts(answer.strip().strip(".").lower()))
    numbers = [n for part in parts for form in _NUMBERS for n in form.findall(part)]
    return {value for text in (*parts, *numbers) for value in _values(text)}


def _key_parts(answer: str) -> Iterator[str]:
    """What follows the last lead such as "is", per line; the whole if there is none."""
    lines = re.split(r"\.\s(?=[A-Z])|\n", answer)
    found = []
    for number, line in enumerate(lines, 1):
        leads = (*_LEADS, _EQUALS) if number == len(lines) else _LEADS
        tails = [line.split(lead)[-1].strip() for lead in leads if lead in line]
        shortest = _shortest(tails)
        if shortest and shortest not in tuple(":,.!?;'"):
            found.append(shortest)
    yield from found or [answer]


def _shortest(tails: Sequence[str]) -> str:
    """An empty one is given up for the next, as the benchmark's code does."""
    chosen = ""
    for tail in tails:
        if not chosen or len(tail) < len(chosen):
            chosen = tail
    return chosen


def _values(text: str) -> list[Value]:
    """A number to two decimals, or a text; a single letter only beside a blank."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
    return [f" {text}", f"{text} "] if len(text) == 1 else [text]
