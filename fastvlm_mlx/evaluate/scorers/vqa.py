"""VQA accuracy: an answer is as right as ten people find it.

The rule and its preparation of texts are those of the VQA challenge
(https://visualqa.org/evaluation.html), with the details of lmms-eval 0.7.3.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from statistics import mean

_ENOUGH = 3
"""So many of the other people make an answer wholly right."""

_ARTICLES = frozenset(("a", "an", "the"))

_DIGITS = {
    name: str(value)
    for value, name in enumerate(
        "zero one two three four five six seven eight nine ten".split()
    )
} | {"none": "0"}

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'

_FULL_STOP = re.compile(r"(?!<=\d)(\.)(?!\d)")  # every stop but one before a digit
_THOUSANDS = re.compile(r"(?<=\d),+(?=\d)")
_MOST_STOPS = 32
"""More of them stay: the challenge's code passes a flag where a count belongs."""

_CONTRACTED = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't "
    "hadn't've hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've "
    "it'll ma'am might've mightn't mightn't've must've mustn't needn't not've o'clock "
    "oughtn't shan't she'd've should've shouldn't shouldn't've somebody'd've "
    "somebody'll somebody's someone'd someone'd've someone'll someone's something'd "
    "something'd've something'll that's there'd there'd've there're there's they'd "
    "they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll "
    "what're what's what've when's where'd where's where've who'd who'd've who'll "
    "who's who've why'll why're why's won't would've wouldn't wouldn't've y'all "
    "y'all'd've y'all'll you'd you'd've you'll you're you've 'ow's'at"
).split()


def vqa_accuracy(answer: str, people: Sequence[str]) -> float:
    """TextVQA's: the mean, over each person left out, of agreeing others / 3.

    Args:
        people: what each of (usually ten) people answered.
    """
    return _agreement(evalai_form(answer), [evalai_form(each) for each in people])


def vqav2_accuracy(answer: str, people: Sequence[str]) -> float:
    """As `vqa_accuracy`, with VQAv2's own preparation of texts."""
    return _agreement(vqav2_form(answer), [vqav2_form(each) for each in people])


def evalai_form(text: str) -> str:
    """Lower case, no comma or question mark, a possessive apart; then as below."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return vqav2_form(text)


def vqav2_form(text: str) -> str:
    """No punctuation, no articles, numbers as digits, contractions with apostrophes."""
    text = text.replace("\n", " ").replace("\t", " ").strip()
    words = (_DIGITS.get(w, w) for w in _without_punctuation(text).lower().split())
    kept = (word for word in words if word not in _ARTICLES)
    return " ".join(_CONTRACTIONS.get(word, word) for word in kept)


def _without_punctuation(text: str) -> str:
    """A sign beside a blank goes; one inside a word becomes a blank."""
    cleaned = text
    has_thousands = _THOUSANDS.search(text) is not None
    for sign in _PUNCTUATION:
        loose = f"{sign} " in text or f" {sign}" in text or has_thousands
        cleaned = cleaned.replace(sign, "" if loose else " ")
    return _FULL_STOP.sub("", cleaned, count=_MOST_STOPS)


def _agreement(answer: str, people: Sequence[str]) -> float:
    if not people:
        return 0.0
    agreeing = people.count(answer)
    return mean(min(1, (agreeing - (p == answer)) / _ENOUGH) for p in people)


def _misspelt(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each contraction by its forms that lack one apostrophe."""
    for word in words:
        for place in (m.start() for m in re.finditer("'", word)):
            yield word[:place] + word[place + 1 :], word


_CONTRACTIONS = dict(_misspelt(_CONTRACTED)) | {"somebody'd": "somebodyd"}
