"""Questions from their several phrasings and their two forms of answer."""

from collections.abc import Sequence
from random import Random

from benchmarks.nano.tasks.scene import Ask
from benchmarks.nano.tasks.wording import SENTENCE, SENTENCES, capitalized


def ask(
    random: Random, kind: str, phrasings: Sequence[str], answer: str, sentence: str
) -> Ask:
    """Ask in one of several ways, for a short answer or for a sentence.

    A question that wants a sentence says so: otherwise no one could tell which of the
    two is right.

    Args:
        random: the source of every choice.
        kind: the question's kind.
        phrasings: the ways to ask.
        answer: the short answer.
        sentence: the answer as a sentence.
    """
    text = random.choice(phrasings)
    if random.random() < SENTENCES:
        return Ask(f"{capitalized(text)} {SENTENCE}", sentence, kind)
    return Ask(text if random.random() < 0.3 else capitalized(text), answer, kind)
