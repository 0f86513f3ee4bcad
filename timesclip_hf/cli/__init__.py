# Copyright 2026 The timesclip_hf authors. Licensed under the Apache License, Version 2.0.
"""The command `timesclip`: a model of a table, predictions, embeds, pictures of what it sees, without any Python.

Each word of it has a file here, with a function that adds it to the command; `options` is what they share.
"""

import argparse
import functools
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from ..escaping import one_line
from .answers import add_embed, add_predict
from .explain import add_explain
from .options import readable
from .pretrain import add_pretrain
from .probe import add_probe
from .render import add_render
from .report import add_report
from .train import add_train

# In the order in which the help lists them.
_VERBS = (
    add_predict, add_explain, add_report, add_embed, add_render, add_train, add_probe, add_pretrain,
)  # fmt: skip


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {one_line(message)} (help: {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: words of the command line; not given: those that the process was started with.

    Returns:
        The exit code: 0, or 2 after an error, which is told in one line on stderr.
    """
    parser = _parser()
    options, words = parser.parse_known_args(arguments)
    command = f"timesclip {options.command}"
    if getattr(options, "takes_words", False):  # transformers knows some of them
        options.run = functools.partial(options.run, words=words)
    elif words:
        parser.error(f"unrecognized arguments: {' '.join(words)}")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries are lines of their own
    told = functools.partial(readable, variates=hasattr(options, "variates"))
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"{command}: warning: {told(message)}", file=sys.stderr)
        try:
            options.run(options)
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:  # whoever reads the output, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes it
            return 0
        except RecursionError:  # of transformers, which reads some files before we can
            where = one_line(getattr(options, "model", None) or "the model")
            print(f"{command}: error: {where}: one of its JSON files is nested too deeply to be read", file=sys.stderr)
            return 2
        except Exception as error:  # whatever it is: people who use commands are not helped by a traceback
            print(f"{command}: error: {told(error)}", file=sys.stderr)
            return 2
    return 0


def _parser() -> _Parser:
    from .. import __version__

    about = (__doc__ or "").split("\n")[0]
    parser = _Parser(prog="timesclip", description=about, epilog="timesclip COMMAND --help explains a command.")
    parser.add_argument("--version", action="version", version=f"timesclip_hf {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in _VERBS:
        add(commands)
    return parser


__all__ = ["main"]
