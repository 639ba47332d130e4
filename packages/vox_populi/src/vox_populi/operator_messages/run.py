"""A run: training, evaluating, answering (MENS-R, MENS-A030, A540, E092)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.operator_messages.wording import clipped, row_lines
from vox_tensor.errors import Problem


def loss_not_finite(step: int, lines: Sequence[int]) -> Problem:
    """The loss of at least one row became infinite or not a number."""
    return Problem(
        code="MENS-R001",
        what=f"the loss of step {step + 1} is not finite; nothing was updated.",
        where=row_lines(lines),
        fix="Check these rows, lower --lr or raise --warmup, or train in f32 (--dtype f32).",
    )


def gradient_not_finite(step: int, lines: Sequence[int]) -> Problem:
    """The loss is a number but a gradient is not."""
    return Problem(
        code="MENS-R002",
        what=f"a gradient of step {step + 1} is not finite; nothing was updated.",
        where=row_lines(lines),
        fix="Lower --lr, raise --warmup, or train in f32 (--dtype f32).",
    )


def held_out_loss_not_finite(step: int) -> Problem:
    """The adapter of this step does not give a finite loss on the held-out rows."""
    learned = "Lower --lr, raise --warmup, or train in f32 (--dtype f32)."
    # Before the first step nothing has been learned, so the base itself is the cause.
    given = "Train in f32 (--dtype f32), or use sound weights: the base itself is the cause."
    return Problem(
        code="MENS-R003",
        what=f"the held-out loss is not finite after step {step}.",
        fix=learned if step else given,
    )


def prompt_unfit(number: int, tokens: int, most: int) -> Problem:
    """A prompt that is empty in ids, or leaves the model no position for an answer."""
    return Problem(
        code="MENS-R011",
        what=f"prompt {number} has {tokens} tokens; this model accepts 1 to {most}.",
        fix="Shorten it, or use a model with more positions.",
    )


def evaluation_not_finite(source: str) -> Problem:
    """The model does not give a finite loss on some rows."""
    return Problem(
        code="MENS-R012",
        what=f"the loss is not finite on the rows from {clipped(source)}.",
        fix="Evaluate in f32 (--dtype f32), or train again with a lower --lr.",
    )


def run_interrupted(signal_name: str, step: int, checkpoint: str | None) -> Problem:
    """SIGINT, SIGTERM or SIGHUP; the run ended after a step."""
    kept = f"its state is in {checkpoint}" if checkpoint else "there was nothing to save yet"
    return Problem(
        code="MENS-R010",
        what=f"the run was stopped by {signal_name} after step {step}; {kept}.",
        fix="Resume with the same command and --resume auto.",
    )


def run_out_of_time(seconds: int, step: int, checkpoint: str | None) -> Problem:
    """`--max-runtime-secs`; the run ended after a step."""
    kept = f"its state is in {checkpoint}" if checkpoint else "there was nothing to save yet"
    return Problem(
        code="MENS-E092",
        what=f"the run reached its limit of {seconds} s after step {step}; {kept}.",
        where="--max-runtime-secs",
        fix="Resume with the same command and --resume auto; the limit starts again.",
    )


NOTE_STOPPING = (
    "stopping after this step, with a checkpoint; press Ctrl-C again to stop immediately."
)
"""The first SIGINT or SIGTERM of a run, acknowledged."""

INTERRUPTED = Problem(code="MENS-R090", what="interrupted.", fix="Start the command again.")
"""Ctrl-C outside of a training run."""

TERMINATED = Problem(code="MENS-R091", what="terminated.", fix="Start the command again.")
"""SIGTERM outside of a training run."""

ADAPTER_TEXT_DIFFERS = Problem(
    code="MENS-A030",
    what="it was trained on text with a different layout (template or system prompt).",
    fix="Omit --template and --system-prompt (a merged model may require the training's"
    " prompt), or override this with --force-template.",
)
"""Template or system prompt differ from those the adapter was trained with."""


def template_changed_since(found: str) -> Problem:
    """The base's chat template is not the recorded one, so servers of the base differ from us."""
    return Problem(
        code="MENS-A150",
        what=f"it was trained with a chat template that differs from the one in {found}.",
        fix="Restore that file, or answer with the recorded template with --force-template.",
    )


def note_recorded_template(found: str) -> str:
    """The note for the recorded template when the operator overrides the check."""
    return f"the chat template is the recorded one, not that of {found}."


SYSTEM_PROMPT_WITHHELD = Problem(
    code="MENS-A130",
    what="it was trained with a system prompt but stores only the digest of it.",
    fix="Pass the prompt with --system-prompt, or merge again with --include-system-prompt; "
    "--force-template runs the model without it.",
)
"""A published model that was trained with a system prompt but is run without one."""

NOTE_PROMPTS_KEEP_CONTROL_TEXT = (
    "text that spells a control token becomes that token, as in training (--on-control-text keep)."
)
"""A model that was trained with control tokens that rows spelled."""

NOTE_TEXT_DIFFERS_FROM_TRAINING = (
    "template or system prompt differ from those the adapter was trained with."
)
"""The note for differing text when the operator overrides the check."""


def note_layout_not_known(path: str) -> str:
    """A folder from another program, which does not record templates."""
    return f"{path} does not record its row format: --template and --system-prompt decide."


NOTHING_TO_COMPARE = Problem(
    code="MENS-U033",
    what="there is no adapter to compare with its base.",
    where="--compare-base",
    fix="Pass one with --run, --checkpoint or --adapter.",
)
"""A comparison of the base with itself."""

ADAPTER_NEEDS_MODEL = Problem(
    code="MENS-U034",
    what="an adapter folder needs its base model.",
    fix="Pass the base's folder with --model.",
)
"""A folder from another program, which does not record where its base is."""

PROMPT_ID_UNUSABLE = Problem(
    code="MENS-U035",
    what='the "id" of the row is neither text nor a whole number.',
    fix="Write it as a string, or omit it.",
)
"""A row of a prompts file with an unusable id."""


def conversation_too_long(tokens: int, most: int) -> Problem:
    """The conversation so far fills the model's positions."""
    return Problem(
        code="MENS-R013",
        what=f"the conversation has {tokens} tokens; this model accepts {most}.",
        fix="Start a new one with /reset, or use fewer words.",
    )


SCORES_NOT_FINITE = Problem(
    code="MENS-R014",
    what="the scores of the next token are not finite, so none can be chosen.",
    fix="Run in f32 (--dtype f32), or train again with a lower --lr.",
)
"""The model does not give finite scores for the next token."""


def chat_greeting(model: str) -> str:
    """The first line of a chat on a terminal."""
    return f"{model}: /help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves."


def chat_help() -> tuple[str, ...]:
    """The commands of a chat, one per line."""
    return (
        "/reset  clear the conversation",
        "/help   show this list",
        "/quit   leave (also Ctrl-D, or Ctrl-C twice)",
        "Ctrl-C  stop the answer; the text so far stays in the conversation",
    )


def chat_command_unknown(word: str) -> Problem:
    """A word with a slash that is not a command and is not sent to the model."""
    return Problem(
        code="MENS-U050",
        what=f"{clipped(word)} is not a chat command, and was not sent to the model.",
        fix="Use /help, /reset or /quit, or write the word inside a sentence.",
    )


NOTE_CHAT_CAN_BE_LEFT = "(press Ctrl-C again, Ctrl-D or type /quit to leave)"
"""Ctrl-C at the prompt of a chat."""

NOTE_ANSWER_BLANK = "(the model ended at once; it wrote nothing)"
"""An empty answer."""

NOTE_ANSWER_WHITE_SPACE = "(the model wrote only white space)"
"""An answer that is only white space."""


def note_answer_cut(tokens: int) -> str:
    """An answer that reached its token limit."""
    return f"(cut at {tokens} tokens; --max-new-tokens allows more)"


NOTE_ANSWER_WITHOUT_ROOM = "(cut: the model has no positions left for this conversation)"
"""An answer that reached the end of the model's positions."""


def proxy_is_no_language_model(graph: str) -> Problem:
    """A proxy adapter passed to a command that runs a transformer."""
    return Problem(
        code="MENS-A540",
        what=f"it was trained in the graph {clipped(graph)}, which has no attention and is not a "
        "language model: it cannot be run or scored as one.",
        fix="Merge it into its base with vox schola merge-qlora and run the merged folder, or "
        "train with --qlora-graph full.",
    )


ADAPTER_OF_THE_SOURCE_SYSTEM = Problem(
    code="MENS-A542",
    what="its sidecar is from the source system, which does not record the base, tokenizer and "
    "template of the training.",
    fix="Merge it into its base with vox schola merge-qlora and use the merged folder.",
)
"""A sidecar without the base, tokenizer and template needed to run the adapter."""


def note_starts_on_nf4(path: str) -> str:
    """`--init-from` with an adapter whose base was dense."""
    return (
        f"the adapter of {path} was trained on the dense base; this run continues from its values "
        "on the NF4 base, so the initial loss will differ."
    )


def note_starts_on_dense(path: str) -> str:
    """`--init-from` with an adapter whose base was in NF4."""
    return (
        f"the adapter of {path} was trained on the NF4 base; this run continues from its values "
        "on the dense base, so the initial loss will differ."
    )


def check_rows_invalid(reason: str) -> Problem:
    """The check rows are damaged or belong to a different run."""
    return Problem(
        code="MENS-A087",
        what=f"not the check rows of this adapter's run: {clipped(reason)}",
        fix="Copy the file from the run folder again, or delete it: the merge then checks less.",
    )
