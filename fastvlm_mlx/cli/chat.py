"""`fastvlm-mlx chat`: a conversation about images."""

import argparse
from typing import TYPE_CHECKING, Any

from ..errors import FastVLMError, ImageError, PromptError, shortened
from ..paths import expanded
from .arguments import (
    Verbs,
    add_everywhere,
    add_limit,
    add_memory,
    add_model,
    add_preprocessing,
    add_sampling,
    chosen_options,
    model_name,
)
from .interrupt import interrupts
from .prompt_cache import prompt_cache
from .stats import answer_stats, cache_stats
from .terminal import answer, is_conversation, read_line, remark, report
from .typed_images import check_image, image_source, leading_images, looks_like_image

if TYPE_CHECKING:
    from ..fastvlm import FastVLM
    from ..generation.result import GenerationResult

HELP = """\
/image PATH   show an image with the next question; a file dragged here does the same
/undo         take back the last image that waits, or the last question
/reset        begin anew
/save FILE    write the conversation, with its images
/load FILE    go on with one that was saved
/stats        what the last answer cost, and what was saved
/help         this
/quit         end, as exit and Ctrl-D do, or Ctrl-C on an empty line"""

COMMANDS = ("/image", "/undo", "/reset", "/save", "/load", "/stats", "/help")
ENDS = ("/quit", "/exit", "quit", "exit")


def add_parser(verbs: Verbs) -> None:
    """Add this verb to the command."""
    parser = verbs.add_parser(
        "chat",
        help="talk about images",
        description="Talk about images, a question a line. Ctrl-C stops an answer; "
        "/help lists what else a line may say. Questions may also be piped in.",
        allow_abbrev=False,  # or --prompt would name a file to be written
    )
    parser.add_argument(
        "words", nargs="*", metavar="IMAGE", help="images for the first question"
    )
    add_model(parser)
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="PATH",
        help="an image for the first question; may be given several times",
    )
    parser.add_argument("--system", metavar="TEXT", help="replaces the system prompt")
    add_preprocessing(parser)
    add_sampling(parser)
    add_memory(parser)
    add_limit(parser)
    add_everywhere(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Refuse what is wrong before a model is loaded; then talk."""
    from ..options import GenerationOptions

    chosen = chosen_options(arguments)
    GenerationOptions.of(**chosen)
    images = [image_source(typed) for typed in [*arguments.image, *arguments.words]]
    for image in images:
        check_image(image)
    from ..fastvlm import load

    vlm = load(
        model_name(arguments),
        revision=arguments.revision,
        dtype=arguments.dtype,
        cache_folder=arguments.feature_cache,
        memory_limit=arguments.memory_limit,
    )
    with prompt_cache(vlm, arguments.prompt_cache):
        talk = Talk(vlm, arguments.system, chosen, images, quiet=arguments.quiet)
        talk.run()


class Talk:
    """Lines in, answers out, until there are no more."""

    def __init__(
        self,
        vlm: "FastVLM",
        system: str | None,
        options: dict[str, Any],
        images: list[str],
        quiet: bool,
    ) -> None:
        self._vlm = vlm
        self._chat = vlm.chat(system, **options)
        self._waiting = list(images)  # for the next question
        self._quiet = quiet
        self._said_no_image = False
        self._last: GenerationResult | None = None

    def run(self) -> None:
        """Until /quit, the end of the input, or Ctrl-C where nothing is going on."""
        if not is_conversation():
            self._read_lines()
            return
        self._remark("/help lists the commands, /quit ends")
        with interrupts.left_to_python():
            self._read_lines()

    def _read_lines(self) -> None:
        while True:
            try:
                line = read_line("> ")
            except KeyboardInterrupt:
                if is_conversation():
                    return
                raise
            if line is None or line.strip().lower() in ENDS:
                return
            self._handle(line.strip())

    def _handle(self, line: str) -> None:
        """One line; a person is told what was wrong, a script ends with it.

        Ctrl-C ends what a line asked for, at a terminal not the program.
        """
        try:
            self._do(line)
        except FastVLMError as error:
            if not is_conversation():
                raise
            report(error)
        except KeyboardInterrupt:
            if not is_conversation():
                raise
            answer("")

    def _do(self, line: str) -> None:
        """Obey a command, show the images that a line begins with, ask the rest."""
        command, rest = (*line.split(maxsplit=1), "", "")[:2]
        if command in COMMANDS:
            self._obey(command, rest)
            return
        images, question = leading_images(line)
        if line.startswith("/") and not images:
            raise PromptError(
                f"{shortened(command)} is no command here; /help lists them."
            )
        # A question may begin with a word that is a file here.
        if not line.startswith("/") and not all(map(looks_like_image, images)):
            images, question = [], line
        self._show(images)
        if question:
            self._ask(question)

    def _ask(self, text: str) -> None:
        self._mention_no_image()
        stream = None
        try:
            stream = self._chat.stream(text, self._waiting)
            self._waiting = []
            for piece in stream:
                answer(piece, end="")
            answer("")
            self._last = stream.result
        except ImageError:
            self._drop_refused()
            raise
        except KeyboardInterrupt:
            if stream is not None:  # what was said of it stays in the conversation
                stream.close()
                self._last = stream.result
            raise

    def _mention_no_image(self) -> None:
        """Once for each beginning: a question about an image is answered anyhow."""
        seen = any(turn.images for turn in self._chat.history)
        if not (seen or self._waiting or self._said_no_image):
            self._said_no_image = True
            self._remark("no image yet: /image PATH shows one, or drag a file here")

    def _drop_refused(self) -> None:
        """Keep of the images that wait those that can be decoded."""
        from ..images.decode import open_image

        kept = []
        for image in self._waiting:
            try:
                open_image(image)
            except ImageError:
                continue
            kept.append(image)
        self._waiting = kept

    def _obey(self, command: str, rest: str) -> None:
        if command == "/image":
            self._show_typed(rest)
        elif command in ("/save", "/load"):
            self._store(command, rest)
        elif command == "/undo":
            self._undo()
        elif command == "/reset":
            self._chat.reset()
            self._begin_anew()
        elif command == "/stats":
            self._tell()
        else:
            answer(HELP)

    def _show_typed(self, rest: str) -> None:
        """`/image PATH`, perhaps several, and perhaps a question after them."""
        if not rest:
            waiting = ", ".join(map(shortened, self._waiting))
            raise PromptError(
                "/image needs the path of an image; type one or drag a file here."
                + (f" For the next question: {waiting}." if waiting else "")
            )
        images, question = leading_images(rest)
        if not images:
            images, question = [image_source(rest)], ""
        self._show(images)
        if question:
            self._ask(question)

    def _show(self, images: list[str]) -> None:
        """Have images wait for the next question, if all of them are images."""
        for image in images:
            check_image(image)
        self._waiting += images

    def _undo(self) -> None:
        if self._waiting:
            self._remark(f"{shortened(self._waiting.pop())} is not shown")
        elif self._chat.history:
            self._chat.undo()
        else:
            self._remark("there is nothing to take back")

    def _store(self, command: str, name: str) -> None:
        if not name:
            raise PromptError(f"{command} needs the name of a file.")
        path = expanded(name)
        if command == "/load":
            self._chat.load(path)
            self._begin_anew()
        elif self._may_write(path.exists(), name):
            self._chat.save(path)

    def _may_write(self, is_there: bool, name: str) -> bool:
        """Ask a person before a file is replaced; a script means what it says."""
        if not is_there or not is_conversation():
            return True
        said = read_line(f"{shortened(name)} is there; replace it? [y/N] ") or ""
        return said.strip().lower() in ("y", "yes")

    def _begin_anew(self) -> None:
        """Images that wait were meant for another conversation."""
        self._waiting = []
        self._said_no_image = False

    def _tell(self) -> None:
        if self._last is not None:
            remark(answer_stats(self._last))
        remark(cache_stats(self._vlm.cache_stats))

    def _remark(self, text: str) -> None:
        if not self._quiet:
            remark(text)
