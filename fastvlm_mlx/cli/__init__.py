"""The command `fastvlm-mlx`: one parser, and a file for each verb.

Exit codes: 0; 2 for bad usage or input; 1 for failures, some lines of a batch among
them; 130 after Ctrl-C. Answers go to standard output, everything about them to
standard error. MLX is imported by the verbs when they run, so that `--help` does not
wait for it, and next to nothing before Ctrl-C is seen to.
"""

from collections.abc import Sequence

from .interrupt import INTERRUPTED, interrupts


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code.

    Args:
        argv: the words after the command's name; None takes this process's own, and
            ends the process within a second of Ctrl-C.
    """
    try:
        if argv is None:
            interrupts.watch()
        from .command import run

        code = run(argv)
    except KeyboardInterrupt:
        interrupts.say()
        code = INTERRUPTED
    finally:
        if argv is None:
            interrupts.rest()
    if argv is None:
        interrupts.end()
    return code
