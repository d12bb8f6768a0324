"""What screens say: dialogs, settings and menus, and what is asked about them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from benchmarks.nano.tasks.asking import ask
from benchmarks.nano.tasks.ground import Size
from benchmarks.nano.tasks.holdout import Split
from benchmarks.nano.tasks.scene import Ask
from benchmarks.nano.tasks.wording import COUNTS, draw_word, words

BUTTONS = (
    *("OK", "Cancel", "Yes", "No", "Save", "Delete", "Open", "Close", "Next", "Back"),
    *("Send", "Retry", "Apply", "Skip", "Done", "Help", "Stop", "Start", "Print"),
)
SWITCHES = (
    *("Wi-Fi", "Bluetooth", "Sound", "Location", "Camera", "Updates", "Dark mode"),
    *("Backup", "Alarm", "Privacy", "Battery", "Network", "Sync", "Mail", "Airplane"),
)
ROWS = (
    *("New", "Open", "Save", "Copy", "Paste", "Undo", "Print", "Find", "Exit", "Home"),
    *("Share", "Rename", "Settings", "Profile", "Search", "Help", "About", "View"),
)
OWN_WORDS = 0.45  # Share of labels that are any words; more of them in the test.

Length = Callable[[str], float]
"""The length of a text, in font sizes."""


@dataclass(frozen=True)
class Dialog:
    """A title, perhaps a message, and buttons of which one is highlighted."""

    title: str
    message: str
    buttons: tuple[str, ...]
    chosen: int
    unseen: bool

    def widest(self, length: Length) -> tuple[float, float]:
        """Return the room that it needs across and down, in font sizes."""
        buttons = sum(length(one) + 1.4 for one in self.buttons)
        row = buttons + 0.7 * (len(self.buttons) - 1)
        return max(row, length(self.title), length(self.message)) + 2.0, 7.0


@dataclass(frozen=True)
class Settings:
    """A title, and switches that are on or off."""

    title: str
    labels: tuple[str, ...]
    on: tuple[bool, ...]
    unseen: bool

    def widest(self, length: Length) -> tuple[float, float]:
        """Return the room that it needs across and down, in font sizes."""
        longest = max(length(label) for label in self.labels) + 3.0
        return max(longest, length(self.title)) + 2.0, 2.8 + 1.5 * len(self.labels)


@dataclass(frozen=True)
class Menu:
    """Rows of which one is selected."""

    rows: tuple[str, ...]
    chosen: int
    unseen: bool

    def widest(self, length: Length) -> tuple[float, float]:
        """Return the room that it needs across and down, in font sizes."""
        longest = max(length(row) for row in self.rows)
        return longest + 2.0, 0.6 + 1.5 * len(self.rows)


def draw_content(random: Random, split: Split, size: Size) -> Dialog | Settings | Menu:
    """Draw what a screen of this size says."""
    kind = random.random()
    title = random.choice(words(False)).capitalize()
    if kind < 0.45:
        number = random.choice((1, 2, 2, 3) if size[0] > size[1] else (1, 2, 2))
        labels, chosen, unseen = _draw_labels(random, split, BUTTONS, number)
        message = " ".join(random.sample(words(False), random.choice((2, 2, 3))))
        said = message.capitalize() if random.random() < 0.6 else ""
        return Dialog(title, said, labels, chosen, unseen)
    if kind < 0.8:
        labels, chosen, unseen = _draw_labels(random, split, SWITCHES, _rows(random))
        one_only = random.random() < 0.6
        on = [place == chosen for place in range(len(labels))]
        if not one_only:
            on = [random.random() < 0.5 for _ in labels]
        return Settings(title, labels, tuple(on), unseen)
    labels, chosen, unseen = _draw_labels(random, split, ROWS, _rows(random))
    return Menu(labels, chosen, unseen)


def _rows(random: Random) -> int:
    return random.choice((2, 3, 3, 4, 4, 5))


def _draw_labels(
    random: Random, split: Split, usual: Sequence[str], number: int
) -> tuple[tuple[str, ...], int, bool]:
    """Draw labels, which of them is chosen, and whether that one is held out."""
    labels = random.sample(usual, number)
    chosen, unseen = random.randrange(number), False
    for place in range(number):
        if random.random() < OWN_WORDS:
            labels[place] = random.choice(words(False)).capitalize()
    if random.random() < OWN_WORDS:
        word, unseen = draw_word(random, split)
        labels[chosen] = word.capitalize()
    if len(set(labels)) < number:
        return _draw_labels(random, split, usual, number)
    return tuple(labels), chosen, unseen


def ask_about(
    random: Random, content: Dialog | Settings | Menu, ending: str
) -> tuple[Ask, ...]:
    """Draw questions about a screen, and a request to describe it."""
    if isinstance(content, Dialog):
        asked = _ask_dialog(random, content, ending)
    elif isinstance(content, Settings):
        asked = _ask_settings(random, content, ending)
    else:
        asked = _ask_menu(random, content, ending)
    return tuple({one.text: one for one in asked}.values())


def _ask_dialog(random: Random, content: Dialog, ending: str) -> list[Ask]:
    label = content.buttons[content.chosen]
    ways: tuple[str, ...] = (
        "which button is highlighted?",
        "what is the label of the highlighted button?",
        "what does the highlighted button say?",
    )
    sentence = f"The {label} button is highlighted."
    asked = [ask(random, f"screens/button{ending}", ways, label, sentence)]
    number = len(content.buttons)
    asked += [_ask_number(random, "button", number, ending)]
    if number > 1:
        side, place = random.choice((("left", 0), ("right", -1)))
        ways = (f"what does the {side} button say?",)
        label = content.buttons[place]
        sentence = f"The {side} button says {label}."
        asked += [ask(random, f"screens/side{ending}", ways, label, sentence)]
    ways = ("what is the title?", "what is the title of the dialog?")
    sentence = f"The title is {content.title}."
    asked += [ask(random, f"screens/title{ending}", ways, content.title, sentence)]
    caption = f"A dialog with {_several(number, 'button')}."
    return [*asked, Ask("Describe the picture.", caption, f"captions/screens{ending}")]


def _ask_settings(random: Random, content: Settings, ending: str) -> list[Ask]:
    asked = []
    shown = [one for one, on in zip(content.labels, content.on, strict=True) if on]
    if len(shown) == 1:
        ways = ("which toggle is on?", "what is switched on?", "which setting is on?")
        sentence = f"{shown[0]} is on."
        asked += [ask(random, f"screens/toggle{ending}", ways, shown[0], sentence)]
    place = random.randrange(len(content.labels))
    label, on = content.labels[place], content.on[place]
    wanted = random.choice(("on", "off"))
    answer = "yes" if on == (wanted == "on") else "no"
    sentence = f"{answer.capitalize()}, {label} is {'on' if on else 'off'}."
    yes_no = (f"is {label} {wanted}?", f"is {label} switched {wanted}?")
    asked += [ask(random, f"screens/yes-no{ending}", yes_no, answer, sentence)]
    count = ("how many toggles are on?", "how many settings are on?")
    sentence = f"{COUNTS[len(shown)].capitalize()} of them are on."
    number = str(len(shown))
    asked += [ask(random, f"screens/count{ending}", count, number, sentence)]
    asked += [_ask_number(random, "toggle", len(content.labels), ending)]
    caption = f"Settings with {_several(len(content.labels), 'toggle')}."
    return [*asked, Ask("Describe the picture.", caption, f"captions/screens{ending}")]


def _ask_menu(random: Random, content: Menu, ending: str) -> list[Ask]:
    label = content.rows[content.chosen]
    ways: tuple[str, ...] = (
        "which item is selected?",
        "which item is highlighted?",
        "which row is highlighted?",
    )
    sentence = f"{label} is {'selected' if random.random() < 0.5 else 'highlighted'}."
    ways = ways[:1] if sentence.endswith("selected.") else ways[1:]
    asked = [ask(random, f"screens/row{ending}", ways, label, sentence)]
    which, place = random.choice((("first", 0), ("last", -1)))
    ways = (f"what is the {which} item?",)
    label = content.rows[place]
    sentence = f"The {which} item is {label}."
    asked += [ask(random, f"screens/side{ending}", ways, label, sentence)]
    asked += [_ask_number(random, "item", len(content.rows), ending)]
    caption = f"A menu with {_several(len(content.rows), 'item')}."
    return [*asked, Ask("Describe the picture.", caption, f"captions/screens{ending}")]


def _ask_number(random: Random, noun: str, number: int, ending: str) -> Ask:
    ways = (f"how many {noun}s are there?", f"how many {noun}s does the screen show?")
    verb = "is" if number == 1 else "are"
    sentence = f"There {verb} {_several(number, noun)}."
    return ask(random, f"screens/count{ending}", ways, str(number), sentence)


def _several(number: int, noun: str) -> str:
    return f"{COUNTS[number]} {noun}{'' if number == 1 else 's'}"
