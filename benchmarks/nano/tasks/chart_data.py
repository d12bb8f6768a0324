"""What a chart shows: labels with values, and what is asked about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from benchmarks.nano.tasks.asking import ask
from benchmarks.nano.tasks.holdout import Split, draw_value, held_out, unseen_wanted
from benchmarks.nano.tasks.scene import Ask
from benchmarks.nano.tasks.wording import COUNTS, words

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov")
CLEAR = 0.12  # The highest leads the next by at least this share of the highest.
LONGEST = 6  # Letters of a label.
STEPS = (1, 2, 5, 10)  # What a bar chart's values are multiples of.


@dataclass(frozen=True)
class Table:
    """The numbers of one chart.

    Attributes:
        kind: "bar" or "pie".
        labels: one for each bar or part.
        values: whole numbers; of a pie, per cent that add up to 100.
        told: whether every value is written at its bar or part.
        exact: whether every value can be read: told, or at a number of the axis.
        title: what stands above the chart, or "".
        unseen: whether its values, in their order, are held out.
    """

    kind: str
    labels: tuple[str, ...]
    values: tuple[int, ...]
    told: bool
    exact: bool
    title: str
    unseen: bool

    @property
    def part(self) -> str:
        """What one label stands for."""
        return "bar" if self.kind == "bar" else "part"


def draw_table(random: Random, split: Split, kind: str, most: int) -> Table:
    """Draw labels and values.

    Args:
        random: the source of every choice.
        split: "train" or "test".
        kind: "bar" or "pie".
        most: the most labels that the chart has room for.
    """
    unseen = unseen_wanted(random, split)
    told = random.random() < 0.55
    exact = told or (kind == "bar" and random.random() < 0.6)

    def values() -> tuple[int, ...]:
        number = random.randint(2, most)
        if kind == "pie":
            return _draw_parts(random, number)
        # Few enough steps that each is at a number of the axis.
        highest = 5 if exact and not told else 20
        step = random.choice(STEPS)
        return tuple(step * random.randint(1, highest) for _ in range(number))

    drawn = draw_value(values, unseen, is_unseen)
    labels = _draw_labels(random, len(drawn))
    title = random.choice(words(False)).capitalize() if random.random() < 0.5 else ""
    return Table(kind, labels, drawn, told, exact, title, unseen)


def is_unseen(values: Sequence[int]) -> bool:
    """Say whether a chart's values, in their order, are held out."""
    return held_out("chart", *values)


def _draw_labels(random: Random, number: int) -> tuple[str, ...]:
    kind = random.random()
    if kind < 0.2:
        return tuple("ABCDEFGH"[:number])
    if kind < 0.35:
        first = random.randrange(len(MONTHS) - number)
        return MONTHS[first : first + number]
    if kind < 0.45:
        year = random.randrange(1990, 2030)
        return tuple(str(year + i) for i in range(number))
    short = [word for word in words(False) if len(word) <= LONGEST]
    style = random.choice((str.lower, str.capitalize, str.capitalize))
    return tuple(style(word) for word in random.sample(short, number))


def _draw_parts(random: Random, number: int) -> tuple[int, ...]:
    """Draw per cent of at least 6, mostly multiples of 5, that add up to 100."""
    step = 5 if random.random() < 0.6 else 1
    least = 10 if step == 5 else 6
    free = (100 - least * number) // step
    cuts = sorted(random.randint(0, free) for _ in range(number - 1))
    edges = zip([0, *cuts], [*cuts, free], strict=True)
    return tuple(least + step * (b - a) for a, b in edges)


def draw_questions(random: Random, table: Table, ending: str) -> tuple[Ask, ...]:
    """Draw questions about a chart, and a request to describe it."""
    asked = [*_ask_extremes(random, table, ending), _ask_count(random, table, ending)]
    if table.exact:
        asked += [_ask_value(random, table, ending) for _ in range(2)]
        asked += [_ask_difference(random, table, ending)]
    if table.title:
        asked += [_ask_title(random, table.title, ending)]
    random.shuffle(asked)
    sentence = f"A {table.kind} chart with {COUNTS[len(table.labels)]} {table.part}s."
    asked.append(Ask("Describe the picture.", sentence, f"captions/charts{ending}"))
    return tuple({one.text: one for one in asked}.values())


def shown_value(table: Table, value: int) -> str:
    """Write a value as the chart does: "35", or "35%" for a pie."""
    return f"{value}%" if table.kind == "pie" else str(value)


def _ask_extremes(random: Random, table: Table, ending: str) -> list[Ask]:
    """Ask which is the highest and which the lowest, where one plainly is."""
    ordered = sorted(zip(table.values, table.labels, strict=True))
    clear = max(1, round(CLEAR * ordered[-1][0]))
    asked = []
    for word, other, first, second in (
        ("highest", "biggest", ordered[-1], ordered[-2]),
        ("lowest", "smallest", ordered[0], ordered[1]),
    ):
        if abs(first[0] - second[0]) >= clear:
            asked.append(_ask_extreme(random, table, word, other, first, ending))
    return asked


def _ask_extreme(
    random: Random,
    table: Table,
    word: str,
    other: str,
    wanted: tuple[int, str],
    ending: str,
) -> Ask:
    value, label = wanted
    said = word if table.kind == "bar" else other
    if table.exact and random.random() < 0.3:
        shown = shown_value(table, value)
        ways: Sequence[str] = (f"what is the {word} value?",)
        sentence = f"The {word} value is {shown}."
        return ask(random, f"charts/{word}{ending}", ways, shown, sentence)
    ways = (
        f"which {table.part} is the {said}?",
        f"which label has the {word} value?",
        f"what is the {said} {table.part}?",
    )
    sentence = f"{label} is the {said}."
    # The sentence repeats the question's own word, so that it is the only right one.
    if random.random() < 0.4:
        ways, sentence = ways[1:2], f"{label} has the {word} value."
    else:
        ways = (ways[0], ways[2])
    return ask(random, f"charts/{word}{ending}", ways, label, sentence)


def _ask_value(random: Random, table: Table, ending: str) -> Ask:
    place = random.randrange(len(table.labels))
    label, shown = table.labels[place], shown_value(table, table.values[place])
    ways = (f"what is the value of {label}?", f"how much is {label}?")
    sentence = f"The value of {label} is {shown}."
    return ask(random, f"charts/value{ending}", ways, shown, sentence)


def _ask_difference(random: Random, table: Table, ending: str) -> Ask:
    one, other = random.sample(range(len(table.labels)), 2)
    shown = shown_value(table, abs(table.values[one] - table.values[other]))
    names = f"{table.labels[one]} and {table.labels[other]}"
    ways = (
        f"what is the difference between {names}?",
        f"by how much do {names} differ?",
    )
    sentence = f"The difference is {shown}."
    return ask(random, f"charts/difference{ending}", ways, shown, sentence)


def _ask_count(random: Random, table: Table, ending: str) -> Ask:
    number = len(table.labels)
    ways = (
        f"how many {table.part}s are there?",
        f"how many {table.part}s does the chart have?",
    )
    sentence = f"There are {COUNTS[number]} {table.part}s."
    return ask(random, f"charts/count{ending}", ways, str(number), sentence)


def _ask_title(random: Random, title: str, ending: str) -> Ask:
    ways = ("what is the title?", "what is the title of the chart?")
    return ask(random, f"charts/title{ending}", ways, title, f"The title is {title}.")
