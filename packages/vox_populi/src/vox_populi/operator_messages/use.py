"""Running a model: which weights, which text, what to measure."""

from __future__ import annotations

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem


def adapter_text_differs(path: str) -> Problem:
    """Template or system prompt are not those that the adapter was trained with."""
    return Problem(
        code="MENS-A030",
        what="it was trained on text with a different layout (template or system prompt).",
        fix="Omit --template and --system-prompt (a merged model may ask for that of the training),"
        " or insist with --force-template.",
        where=path,
    )


def system_prompt_withheld(path: str) -> Problem:
    """A published model that was trained with a system prompt, and is run with none."""
    return Problem(
        code="MENS-A130",
        what="it was trained with a system prompt, and keeps only the digest of it.",
        fix="Pass the prompt with --system-prompt, or merge again with --include-system-prompt; "
        "--force-template runs the model without it.",
        where=path,
    )


def receipt_unusable(path: str, reason: str) -> Problem:
    """The receipt of a merged folder does not say how its text was made."""
    return Problem(
        code="MENS-A031",
        what=f"it is no usable merge receipt: {clipped(reason)}.",
        fix="Merge again, or put back the receipt that the merge wrote.",
        where=path,
    )


def note_text_differs_from_training() -> str:
    """The same, when the operator insists."""
    return "template or system prompt differ from those the adapter was trained with."


def note_layout_not_known(path: str) -> str:
    """A folder of another program, which says nothing about templates."""
    return f"{path} does not say how its rows were laid out: --template and --system-prompt decide."


def nothing_to_compare() -> Problem:
    """A comparison with the base, of the base."""
    return Problem(
        code="MENS-U033",
        what="there is no adapter to compare with its base.",
        where="--compare-base",
        fix="Name one with --run, --checkpoint or --adapter.",
    )


def adapter_needs_model(path: str) -> Problem:
    """A folder of another program, which does not say where its base is on this machine."""
    return Problem(
        code="MENS-U034",
        what="an adapter folder needs its base model beside it.",
        where=path,
        fix="Name the base's folder with --model.",
    )


def prompt_id_unusable(where: str) -> Problem:
    """A row of a prompts file whose id cannot stand for it."""
    return Problem(
        code="MENS-U035",
        what='the "id" of the row is neither text nor a whole number.',
        where=where,
        fix="Write it as a string, or leave it out.",
    )


def conversation_too_long(tokens: int, most: int) -> Problem:
    """What was said so far fills the model."""
    return Problem(
        code="MENS-R013",
        what=f"the conversation has {tokens} tokens; this model takes {most}.",
        fix="Start a new one with /reset, or say it in fewer words.",
    )


def scores_not_finite() -> Problem:
    """The model gives no usable scores for the next token."""
    return Problem(
        code="MENS-R014",
        what="the scores of the next token are not finite, so there is none to choose.",
        fix="Run in f32 (--dtype f32), or train again with a lower --lr.",
    )


def chat_greeting(model: str) -> str:
    """What a chat on a terminal begins with."""
    return f"{model}: /help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves."


def chat_help() -> tuple[str, ...]:
    """What can be typed in a chat besides messages, one line each."""
    return (
        "/reset  forget the conversation",
        "/help   show this list",
        "/quit   leave (also Ctrl-D, or Ctrl-C twice)",
        "Ctrl-C  stop the answer; what was written so far counts as said",
    )


def chat_command_unknown(word: str) -> Problem:
    """A word with a slash that is not a command; it is not sent to the model."""
    return Problem(
        code="MENS-U050",
        what=f"{clipped(word)} is not a chat command, and was not sent to the model.",
        fix="Use /help, /reset or /quit, or write the word inside a sentence.",
    )


def note_chat_can_be_left() -> str:
    """Ctrl-C at the prompt of a chat."""
    return "(press Ctrl-C again, Ctrl-D or type /quit to leave)"


def note_answer_blank() -> str:
    """A model that ended its turn before it began."""
    return "(the model ended at once; it wrote nothing)"


def note_answer_white_space() -> str:
    """A model that wrote tokens, of which nothing can be seen."""
    return "(the model wrote only white space)"


def note_answer_cut(tokens: int) -> str:
    """An answer that reached its limit."""
    return f"(cut at {tokens} tokens; --max-new-tokens allows more)"


def note_answer_without_room() -> str:
    """An answer that reached the end of the model's positions."""
    return "(cut: the model has no positions left for this conversation)"


def proxy_is_no_language_model(path: str, graph: str) -> Problem:
    """A proxy adapter given to a command that runs a transformer."""
    return Problem(
        code="MENS-A540",
        what=f"it was trained in the graph {clipped(graph)}, which has no attention and is no "
        "language model: it cannot be run or scored as one.",
        fix="Merge it into its base with vox schola merge-qlora and run the merged folder, or "
        "train with --qlora-graph full.",
        where=path,
    )


def proxy_has_no_consumer(path: str, graph: str) -> Problem:
    """A proxy adapter that another program would run inside the whole transformer."""
    return Problem(
        code="MENS-A541",
        what=f"it was trained in the graph {clipped(graph)}; another program would run it inside "
        "the whole transformer, where nobody trained it.",
        fix="Merge it into its base with vox schola merge-qlora, or train with --qlora-graph full.",
        where=path,
    )


def adapter_of_the_source_system(path: str) -> Problem:
    """Its sidecar names no base, tokenizer or template, which running it needs."""
    return Problem(
        code="MENS-A542",
        what="its sidecar is the source system's, which does not say which base, tokenizer and "
        "template it was trained with.",
        fix="Merge it into its base with vox schola merge-qlora and use the merged folder.",
        where=path,
    )


def note_starts_on_nf4(path: str) -> str:
    """`--init-from` with an adapter whose base was dense."""
    return (
        f"the adapter of {path} was trained on the dense base; this run goes on from its values "
        "on the base in NF4, where the loss at the start is another one."
    )


def note_starts_on_dense(path: str) -> str:
    """`--init-from` with an adapter whose base was in NF4."""
    return (
        f"the adapter of {path} was trained on the base in NF4; this run goes on from its values "
        "on the dense base, where the loss at the start is another one."
    )


def note_exported_from_nf4() -> str:
    """A consumer that loads the base in 16 bits runs what training did not see."""
    return (
        "the adapter was trained on the base in NF4; on the dense base its answers differ a little "
        "(vox schola merge-qlora measures by how much)."
    )
