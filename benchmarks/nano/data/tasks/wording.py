"""The words and numbers in the images, and the wording of questions and answers."""

from collections.abc import Callable, Sequence
from functools import cache
from random import Random

from mnemonic import Mnemonic

from .holdout import Split, draw_value, held_out, unseen_wanted
from .scene import Question

SENTENCE = "Answer in a sentence."
SENTENCES = 0.18  # share of questions that ask for one; with descriptions a fifth
COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
# The hash would hold these out, but the shipped model's training drew them.
FAMILIAR = frozenset({"save", "print", "alarm", "home"})
# These look like no digit and no other letter in any font.
CLEAR_LETTERS = "abcdefghjkmnpqrstuvwxyz"


def ask(
    random: Random, kind: str, phrasings: Sequence[str], answer: str, sentence: str
) -> Question:
    """Ask in one of several ways, for the short answer or explicitly for a sentence."""
    text = random.choice(phrasings)
    if random.random() < SENTENCES:
        return Question(f"{capitalized(text)} {SENTENCE}", sentence, kind)
    return Question(text if random.random() < 0.3 else capitalized(text), answer, kind)


@cache
def words(unseen: bool) -> Sequence[str]:
    """The held-out or the other words of BIP-39: 2 048 of 3 to 8 letters."""
    known = Mnemonic("english").wordlist
    return [word for word in known if _is_unseen(word) == unseen]


def _is_unseen(word: str) -> bool:
    return held_out("word", word) and word not in FAMILIAR


def draw_word(random: Random, split: Split) -> tuple[str, bool]:
    """A word, and whether it is held out."""
    unseen = unseen_wanted(random, split)
    return random.choice(words(unseen)), unseen


def draw_letters(random: Random) -> str:
    """Letters that make no word, so that they cannot be guessed."""
    return "".join(random.choices(CLEAR_LETTERS, k=random.randint(3, 6)))


def draw_number(random: Random, split: Split) -> str:
    """A whole number of 1 to 5 digits; held out are those of 3 and more."""
    digits = random.choices((1, 2, 3, 4, 5), (1, 3, 4, 3, 1))[0]

    def number() -> str:
        lowest = 0 if digits == 1 else 10 ** (digits - 1)
        return str(random.randrange(lowest, 10**digits))

    return number() if digits < 3 else _draw(random, split, number)


def draw_price(random: Random, split: Split) -> str:
    """An amount with two decimals and no currency: "12.50"."""

    def amount() -> str:
        cents = random.choice((0, 50, 99, 95, random.randrange(100)))
        whole = random.randrange(1, random.choice((10, 100)))
        return f"{whole}.{cents:02d}"

    return _draw(random, split, amount)


def draw_time(random: Random, split: Split) -> str:
    """A time of the day: "14:05"."""

    def time() -> str:
        return f"{random.randrange(24):02d}:{random.randrange(60):02d}"

    return _draw(random, split, time)


def _draw(random: Random, split: Split, draw: Callable[[], str]) -> str:
    return draw_value(draw, unseen_wanted(random, split), is_unseen_number)


def is_unseen_number(text: str) -> bool:
    """Whether a number, price or time is held out; short ones never are."""
    return len(text) >= 3 and held_out("number", text)


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun: "an orange star"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def listed(parts: Sequence[str]) -> str:
    """Join parts as in speech: "a, b and c"."""
    if len(parts) == 1:
        return parts[0]
    return ", ".join(parts[:-1]) + " and " + parts[-1]


def capitalized(text: str) -> str:
    """Make the first letter a capital and leave the others."""
    return text[0].upper() + text[1:]
