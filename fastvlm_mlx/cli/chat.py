"""`fastvlm-mlx chat`: a conversation about pictures."""

import argparse
import os
from typing import TYPE_CHECKING, Any

from ..errors import FastVLMError, PromptError
from .arguments import (
    Verbs,
    add_everywhere,
    add_limit,
    add_looking,
    add_memory,
    add_model,
    add_sampling,
    chosen_options,
    model_name,
)
from .prompt_cache import prompt_cache
from .stats import answer_stats, cache_stats
from .terminal import answer, is_conversation, read_line, remark, report

if TYPE_CHECKING:
    from ..fastvlm import FastVLM
    from ..generation.result import GenerationResult

HELP = """\
/image PATH   show a picture with the next question
/undo         take the last question and its answer back
/reset        begin anew
/save FILE    write the conversation, with its pictures
/load FILE    go on with one that was saved
/stats        what the last answer cost, and what was saved
/help         this
/quit         end, as Ctrl-D does, or Ctrl-C on an empty line"""


def add_parser(verbs: Verbs) -> None:
    """Tell the command of this verb."""
    parser = verbs.add_parser(
        "chat",
        help="talk about pictures",
        description="Talk about pictures, a question a line. Ctrl-C stops an answer; "
        "/help lists what else a line may say. Questions may also be piped in.",
        allow_abbrev=False,  # or --prompt would name a file to be written
    )
    add_model(parser)
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="PATH",
        help="a picture for the first question; may be given several times",
    )
    parser.add_argument("--system", metavar="TEXT", help="replaces the system prompt")
    add_looking(parser)
    add_sampling(parser)
    add_memory(parser)
    add_limit(parser)
    add_everywhere(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Refuse what is wrong before a model is loaded; then talk."""
    from ..images.decode import check_file
    from ..options import GenerationOptions

    chosen = chosen_options(arguments)
    GenerationOptions.of(**chosen)
    for image in arguments.image:
        check_file(image)
    from ..fastvlm import load

    vlm = load(
        model_name(arguments),
        revision=arguments.revision,
        dtype=arguments.dtype,
        cache_folder=arguments.feature_cache,
        memory_limit=arguments.memory_limit,
    )
    with prompt_cache(vlm, arguments.prompt_cache):
        talk = Talk(vlm, arguments.system, chosen, arguments.image)
        if is_conversation() and not arguments.quiet:
            remark("/help lists the commands, /quit ends")
        talk.run()


class Talk:
    """Lines in, answers out, until there are no more."""

    def __init__(
        self,
        vlm: "FastVLM",
        system: str | None,
        options: dict[str, Any],
        images: list[str],
    ) -> None:
        self._vlm = vlm
        self._chat = vlm.chat(system, **options)
        self._images = list(images)
        self._last: GenerationResult | None = None

    def run(self) -> None:
        """Until /quit, the end of the input, or Ctrl-C where nothing is going on."""
        while True:
            try:
                line = read_line("> ")
            except KeyboardInterrupt:
                return
            except UnicodeDecodeError:
                raise PromptError(
                    "The standard input is not valid text; expected UTF-8."
                ) from None
            if line is None or line.strip() == "/quit":
                return
            self._handle(line.strip())

    def _handle(self, line: str) -> None:
        """One line; a person is told what was wrong, a script ends with it.

        Ctrl-C ends what a line asked for, at a terminal not the program.
        """
        try:
            if line.startswith("/"):
                self._obey(*line.partition(" ")[::2])
            elif line:
                self._ask(line)
        except FastVLMError as error:
            if not is_conversation():
                raise
            report(error)
        except KeyboardInterrupt:
            if not is_conversation():
                raise
            answer("")

    def _ask(self, text: str) -> None:
        stream = None
        try:
            stream = self._chat.stream(text, self._images)
            self._images = []
            for piece in stream:
                answer(piece, end="")
            answer("")
            self._last = stream.result
        except KeyboardInterrupt:
            if stream is not None:  # what was said of it stays in the conversation
                stream.close()
                self._last = stream.result
            raise

    def _obey(self, command: str, rest: str) -> None:
        rest = rest.strip()
        if command == "/image" and rest:
            self._show(rest)
        elif command in ("/save", "/load") and rest:
            write_or_read = getattr(self._chat, command.removeprefix("/"))
            write_or_read(os.path.expanduser(rest))
        elif command == "/undo":
            self._chat.undo()
        elif command == "/reset":
            self._chat.reset()
            self._images = []
        elif command == "/stats":
            self._tell()
        elif command == "/help":
            answer(HELP)
        else:
            raise PromptError(f"{command} is no command here; /help lists them.")

    def _show(self, path: str) -> None:
        from ..images.decode import check_file

        self._images.append(str(check_file(path)))

    def _tell(self) -> None:
        if self._last is not None:
            remark(answer_stats(self._last))
        remark(cache_stats(self._vlm.cache_stats))
