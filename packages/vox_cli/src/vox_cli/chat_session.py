"""`vox mens generate --interactive`: a chat on a terminal, or with the lines of a pipe."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import suppress

from vox_cli.answer_remark import answer_remark
from vox_cli.console import Console
from vox_cli.terminal import STDOUT, ask
from vox_populi.errors import DataError
from vox_populi.operator_messages import run as say
from vox_populi.pipeline.chat import Conversation

with suppress(ImportError):
    # Gives `input` an editable line and a history; not every system has it.
    import readline  # noqa: F401 - imported for its effect

QUIT, RESET, HELP = "/quit", "/reset", "/help"
_COMMAND = re.compile(r"/[A-Za-z?]+")
"""Matches a message that is one such word; `/tmp is a folder` is an ordinary message."""
PROMPT = "> "


def chat(conversation: Conversation, console: Console) -> None:
    """Answer message after message until the input ends.

    On a terminal, answers appear as they are generated, and a message that cannot be answered
    is reported and skipped. From a pipe, each line is a message, and the first one that cannot
    be answered ends the chat.

    Raises:
        DataError: For such a message from a pipe.
    """
    if getattr(sys, "stdin") is None:  # noqa: B009 - typed as always there, and closed by `<&-`
        return
    is_terminal = sys.stdin.isatty() and STDOUT.is_terminal()
    if is_terminal:
        console.note(say.chat_greeting(conversation.model))
    for text in _messages(console, is_terminal=is_terminal):
        if text == QUIT:
            return
        if text:
            try:
                _take(conversation, console, text, is_terminal=is_terminal)
            except DataError as error:
                if not is_terminal:
                    raise
                for problem in error.problems:
                    console.note(str(problem))


def _take(conversation: Conversation, console: Console, text: str, *, is_terminal: bool) -> None:
    if text == RESET:
        conversation.reset()
    elif text == HELP:
        for line in say.chat_help():
            console.note(line)
    elif _COMMAND.fullmatch(text):
        raise DataError(say.chat_command_unknown(text))
    else:
        _answer(conversation, console, text, is_terminal=is_terminal)


def _answer(conversation: Conversation, console: Console, text: str, *, is_terminal: bool) -> None:
    shows_pieces = is_terminal and not console.as_json
    result = conversation.answer(text, console.piece if shows_pieces else _nothing)
    if console.as_json:
        console.json_line(result.as_json())
    else:
        console.result("" if shows_pieces else result.text)
    STDOUT.flush()
    remark = None if console.as_json else answer_remark(result)
    if remark is not None:
        console.note(remark)


def _messages(console: Console, *, is_terminal: bool) -> Iterator[str]:
    """Lines without surrounding whitespace."""
    if not is_terminal:
        if isinstance(sys.stdin, io.TextIOWrapper):
            # What is no text in this encoding is refused as a message, not as a crash.
            sys.stdin.reconfigure(errors="surrogateescape")
        yield from (line.strip() for line in sys.stdin)
        return
    is_leaving = False
    while True:
        try:
            text = ask(PROMPT).strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            # Ends the line that is being typed; twice in a row, the chat.
            if is_leaving:
                return
            is_leaving = True
            console.end_typed_line()
            console.note(say.NOTE_CHAT_CAN_BE_LEFT)
        else:
            is_leaving = False
            yield text


def _nothing(text: str) -> None:
    """Discard a piece: readers of a pipe get whole answers."""
