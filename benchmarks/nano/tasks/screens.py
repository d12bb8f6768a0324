"""The screens task: dialogs with buttons, settings with switches, and menus."""

from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw, ImageFont

from benchmarks.nano.tasks.camera import wear
from benchmarks.nano.tasks.fonts import Face, draw_face
from benchmarks.nano.tasks.ground import Size, draw_ground, draw_size
from benchmarks.nano.tasks.holdout import Split, novelty
from benchmarks.nano.tasks.lettering import write
from benchmarks.nano.tasks.palette import Color, dark, light, pale
from benchmarks.nano.tasks.scene import Mark, Scene
from benchmarks.nano.tasks.screen_questions import (
    Dialog,
    Menu,
    Settings,
    ask_about,
    draw_content,
)

ACCENTS = (
    *((0, 122, 255), (52, 168, 83), (220, 50, 47), (255, 149, 0), (120, 80, 200)),
    *((0, 120, 140), (230, 60, 130)),
)


@dataclass(frozen=True)
class Theme:
    """The colours of a screen."""

    window: Color
    raised: Color
    ink: Color
    accent: Color


@dataclass
class Window:
    """A screen being drawn: its picture, room, font, theme and marks so far."""

    image: Image.Image
    box: tuple[int, int, int, int]
    font: ImageFont.FreeTypeFont
    theme: Theme
    marks: list[Mark]

    @property
    def pen(self) -> ImageDraw.ImageDraw:
        """Draws into the picture."""
        return ImageDraw.Draw(self.image)

    def write(self, x: float, y: float, text: str, anchor: str, ink: Color) -> None:
        """Write one line and keep its marks."""
        at = (round(x), round(y))
        self.marks += write(self.pen, at, text, self.font, ink, anchor)


def draw_screen(random: Random, split: Split) -> Scene:
    """Draw a dialog, settings or a menu and ask about it."""
    size = draw_size(random)
    face = draw_face(random, split, everyday=True)
    content = draw_content(random, split, size)
    window = _open_window(random, size, face, content)
    if isinstance(content, Dialog):
        _draw_dialog(random, window, content)
    elif isinstance(content, Settings):
        _draw_settings(random, window, content)
    else:
        _draw_menu(random, window, content)
    asked = ask_about(random, content, novelty(content.unseen, face.unseen))
    return Scene(wear(random, window.image), asked, tuple(window.marks))


def _open_window(
    random: Random, size: Size, face: Face, content: Dialog | Settings | Menu
) -> Window:
    """Draw an empty window on a desktop, or one that fills the screen."""
    theme = _draw_theme(random)
    image = draw_ground(random, size).image
    rim = random.choice((0.0, random.uniform(0.02, 0.08)))
    across, down = round(size[0] * rim), round(size[1] * rim)
    box = (across, down, size[0] - across, size[1] - down)
    radius = round(min(size) * 0.04) if rim else 0
    line = random.choice((None, theme.ink))
    ImageDraw.Draw(image).rounded_rectangle(box, radius, theme.window, line)
    text = _text_size(random, box, face, content)
    return Window(image, box, face.at(text), theme, [])


def _draw_theme(random: Random) -> Theme:
    accent = random.choice(ACCENTS)
    if random.random() < 0.3:
        window = dark(random)
        raised = (window[0] + 38, window[1] + 38, window[2] + 38)
        return Theme(window, raised, pale(random), accent)
    window = pale(random)
    raised = (window[0] - 32, window[1] - 32, window[2] - 32)
    return Theme(window, raised, dark(random), accent)


def _text_size(
    random: Random,
    box: tuple[int, int, int, int],
    face: Face,
    content: Dialog | Settings | Menu,
) -> int:
    """Return the largest font size at which all rows fit, or a somewhat smaller one."""
    width, height = box[2] - box[0], box[3] - box[1]
    longest, rows = content.widest(lambda text: face.at(100).getlength(text) / 100)
    fitting = min(width / longest, height / rows, max(width, height) * 0.11)
    return max(int(fitting * random.uniform(0.7, 1.0)), 6)


def _draw_dialog(random: Random, window: Window, content: Dialog) -> None:
    left, top, right, bottom = window.box
    text, theme = window.font.size, window.theme
    _draw_title(random, window, content.title)
    middle = (left + right) / 2
    if content.message:
        y = (top + bottom) / 2
        window.write(middle, y, content.message, "mm", theme.ink)
    widths = [window.font.getlength(one) + 1.4 * text for one in content.buttons]
    gap = 0.7 * text
    x = middle - (sum(widths) + gap * (len(widths) - 1)) / 2
    if random.random() < 0.4:
        x = right - text - sum(widths) - gap * (len(widths) - 1)
    style = random.randrange(3)
    for place, (label, width) in enumerate(zip(content.buttons, widths, strict=True)):
        box = (x, bottom - 2.6 * text, x + width, bottom - 0.8 * text)
        _draw_button(window, label, box, place == content.chosen, style)
        x += width + gap


def _draw_title(random: Random, window: Window, title: str) -> None:
    """Write the title, on a bar of its own or straight on the window."""
    left, top, right, _ = window.box
    text, theme = window.font.size, window.theme
    ink = theme.ink
    if random.random() < 0.5:
        bar = (left, top, right, round(top + 1.9 * text))
        fill = random.choice((theme.raised, theme.accent))
        window.pen.rectangle(bar, fill)
        ink = ink if fill == theme.raised else _on(fill)
    x, anchor = random.choice(((left + text, "lm"), ((left + right) / 2, "mm")))
    window.write(x, top + 0.98 * text, title, anchor, ink)


def _draw_button(
    window: Window,
    label: str,
    box: tuple[float, float, float, float],
    chosen: bool,
    style: int,
) -> None:
    """Draw a button; the chosen one is filled, the others grey, framed or bare."""
    theme, text = window.theme, window.font.size
    fill = theme.accent if chosen else (theme.raised, theme.window, theme.window)[style]
    outline = theme.ink if style == 1 and not chosen else None
    rounded = (round(box[0]), round(box[1]), round(box[2]), round(box[3]))
    window.pen.rounded_rectangle(
        rounded, round(text * 0.35), fill, outline, max(round(text / 16), 1)
    )
    ink = _on(fill) if chosen else theme.ink
    center = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    window.write(*center, label, "mm", ink)
    window.marks.append(Mark("chosen button" if chosen else "button", box))


def _draw_settings(random: Random, window: Window, content: Settings) -> None:
    left, top, right, bottom = window.box
    text, theme = window.font.size, window.theme
    _draw_title(random, window, content.title)
    start = top + 2.3 * text
    step = min((bottom - start - 0.3 * text) / len(content.labels), 2.4 * text)
    boxes = random.random() < 0.3
    lines = random.random() < 0.4
    for place, label in enumerate(content.labels):
        y = start + step * (place + 0.5)
        window.write(left + text, y, label, "lm", theme.ink)
        draw = _draw_checkbox if boxes else _draw_switch
        draw(window, (right - text, y), content.on[place])
        if lines and place:
            edge = round(y - step / 2)
            window.pen.line((left + text, edge, right - text, edge), theme.raised, 1)


def _draw_switch(window: Window, at: tuple[float, float], on: bool) -> None:
    """Draw a switch whose right middle lies at the given place."""
    x, y = at
    high = window.font.size * 1.1
    box = (round(x - 1.85 * high), round(y - high / 2), round(x), round(y + high / 2))
    track = window.theme.accent if on else (150, 150, 150)
    window.pen.rounded_rectangle(box, round(high / 2), track)
    pad = max(round(high * 0.12), 1)
    knob = box[3] - box[1] - 2 * pad
    left = box[2] - pad - knob if on else box[0] + pad
    window.pen.ellipse((left, box[1] + pad, left + knob, box[3] - pad), "white")
    window.marks.append(Mark("toggle on" if on else "toggle off", box))


def _draw_checkbox(window: Window, at: tuple[float, float], on: bool) -> None:
    """Draw a check box whose right middle lies at the given place."""
    x, y = at
    high = window.font.size * 1.0
    box = (round(x - high), round(y - high / 2), round(x), round(y + high / 2))
    thin = max(round(high / 9), 1)
    fill = window.theme.accent if on else window.theme.window
    window.pen.rectangle(box, fill, window.theme.ink, thin)
    if on:
        shares = ((0.2, 0.5), (0.42, 0.74), (0.8, 0.24))
        tick = [(box[0] + high * a, box[1] + high * b) for a, b in shares]
        window.pen.line(tick, _on(fill), max(round(high / 6), 1))
    window.marks.append(Mark("toggle on" if on else "toggle off", box))


def _draw_menu(random: Random, window: Window, content: Menu) -> None:
    left, top, right, bottom = window.box
    text, theme = window.font.size, window.theme
    step = min((bottom - top - 0.6 * text) / len(content.rows), 2.2 * text)
    for place, label in enumerate(content.rows):
        y = top + 0.3 * text + step * (place + 0.5)
        ink = theme.ink
        if place == content.chosen:
            bar = (left, round(y - step / 2), right, round(y + step / 2))
            window.pen.rectangle(bar, theme.accent)
            window.marks.append(Mark("chosen row", bar))
            ink = _on(theme.accent)
        window.write(left + text, y, label, "lm", ink)


def _on(fill: Color) -> Color:
    return (255, 255, 255) if light(fill) < 165 else (10, 10, 10)
