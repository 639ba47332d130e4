"""`vox mens generate`: continue prompts, greedily or by sampling."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.answer_remark import answer_remark
from vox_cli.chat_session import chat
from vox_cli.console import Console
from vox_cli.output_flags import DocumentOrLinesConsole
from vox_cli.prompt_source import prompts_of
from vox_cli.report_text import set_in
from vox_populi.errors import ConfigError
from vox_populi.operator_messages import usage as say
from vox_populi.pipeline.chat import open_chat
from vox_populi.pipeline.generate import GenerateRequest, GenerateResult, Prompt
from vox_populi.pipeline.generate import generate as continue_prompts
from vox_tensor.visible_text import visible_line


def generate(
    console: DocumentOrLinesConsole,
    *,
    prompt: Annotated[str | None, flags.text("Prompt to continue.")] = None,
    prompts: Annotated[
        Path | None,
        flags.path('One prompt per line, or .jsonl rows with "prompt" and "id".', "FILE"),
    ] = None,
    interactive: Annotated[
        bool,
        flags.switch("Chat on a terminal, or with one message per line.", "--interactive", "-i"),
    ] = False,
    request: GenerateRequest,
) -> None:
    """Continue prompts with a base or merged model, or with an adapter on top of a base.

    With --json, print one document, or one line per prompt for a file of prompts.
    """
    request = replace(request, prompts=_prompts(prompt, prompts, interactive=interactive))
    if request.temperature == 0 and (request.top_k is not None or request.top_p < 1):
        console.note("note: --top-k and --top-p have no effect at --temperature 0")
    if interactive:
        conversation = open_chat(request)
        console.notes(conversation.notes)
        chat(conversation, console)
        return
    for number, result in enumerate(continue_prompts(request), 1):
        if number == 1:
            console.notes(result.notes)
        _show(console, result, number, is_one_of_many=prompts is not None)


def _prompts(prompt: str | None, file: Path | None, *, interactive: bool) -> tuple[Prompt, ...]:
    """The prompts to continue; none at the start of a chat."""
    if not interactive:
        return prompts_of(prompt, file)
    named = [
        flag for flag, value in (("--prompt", prompt), ("--prompts", file)) if value is not None
    ]
    if named:
        raise ConfigError(say.sources_conflict(("--interactive", *named)))
    return ()


def _show(console: Console, result: GenerateResult, number: int, *, is_one_of_many: bool) -> None:
    if console.as_json and is_one_of_many:
        console.json_line(result.as_json())
    elif console.as_json:
        console.document(result.as_json())
    elif is_one_of_many:
        console.result(f"> {visible_line(result.prompt)}\n  {set_in(result.text)}\n")
    else:
        console.result(result.text)
    remark = None if console.as_json else answer_remark(result)
    if remark is not None:
        console.note(f"prompt {number}: {remark}" if is_one_of_many else remark)
