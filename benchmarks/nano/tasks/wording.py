"""The words and numbers that pictures show, and how answers are worded."""

from collections.abc import Sequence
from functools import cache
from random import Random

from mnemonic import Mnemonic

from benchmarks.nano.tasks.holdout import Split, draw_value, held_out, unseen_wanted

SENTENCE = "Answer in a sentence."
SENTENCES = 0.18  # Share of questions that want one; descriptions make it a fifth.
COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
# Words that the hash would hold out but that every screen shows.
FAMILIAR = frozenset({"save", "print", "alarm", "home"})
# No letter here is taken for a digit or for another letter in any of the fonts.
CLEAR_LETTERS = "abcdefghjkmnpqrstuvwxyz"


@cache
def words(unseen: bool) -> Sequence[str]:
    """List the words of BIP-39: 2 048 common English words of 3 to 8 letters.

    Args:
        unseen: the tenth kept for the test, or the rest.
    """
    known = Mnemonic("english").wordlist
    return [word for word in known if _is_unseen(word) == unseen]


def _is_unseen(word: str) -> bool:
    return held_out("word", word) and word not in FAMILIAR


def draw_word(random: Random, split: Split) -> tuple[str, bool]:
    """Draw a word and say whether it is a held-out one."""
    unseen = unseen_wanted(random, split)
    return random.choice(words(unseen)), unseen


def draw_letters(random: Random) -> str:
    """Draw letters that make no word, so that reading them is not guessing."""
    return "".join(random.choices(CLEAR_LETTERS, k=random.randint(3, 6)))


def draw_number(random: Random, split: Split, length: int | None = None) -> str:
    """Draw a whole number as text, of 1 to 5 digits.

    Numbers of at least three digits are held out by the tenth.
    """
    digits = length or random.choices((1, 2, 3, 4, 5), (1, 3, 4, 3, 1))[0]

    def number() -> str:
        lowest = 0 if digits == 1 else 10 ** (digits - 1)
        return str(random.randrange(lowest, 10**digits))

    if digits < 3:
        return number()
    unseen = unseen_wanted(random, split)
    return draw_value(number, unseen, is_unseen_number)


def draw_price(random: Random, split: Split) -> str:
    """Draw an amount with two decimals, without a currency: "12.50"."""

    def amount() -> str:
        cents = random.choice((0, 50, 99, 95, random.randrange(100)))
        whole = random.randrange(1, random.choice((10, 100)))
        return f"{whole}.{cents:02d}"

    unseen = unseen_wanted(random, split)
    return draw_value(amount, unseen, is_unseen_number)


def draw_time(random: Random, split: Split) -> str:
    """Draw a time of the day: "14:05"."""

    def time() -> str:
        return f"{random.randrange(24):02d}:{random.randrange(60):02d}"

    unseen = unseen_wanted(random, split)
    return draw_value(time, unseen, is_unseen_number)


def is_unseen_number(text: str) -> bool:
    """Say whether a number, price or time is held out; short ones never are."""
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
