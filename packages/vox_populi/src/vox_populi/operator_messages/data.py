"""Data (from MENS-D030): rows, corpora. `vox_tensor.data_messages` has the lower codes."""

from __future__ import annotations

from collections.abc import Sequence

from vox_tensor.errors import Problem


def row_shape_unknown(
    lists: Sequence[str], prompts: Sequence[str], answers: Sequence[str], text: str
) -> Problem:
    """An object with none of the keys of a row."""
    pair = f"{_quoted(prompts)} with {_quoted(answers)}"
    return Problem(
        code="MENS-D030",
        what="the row has no key of a known row format.",
        fix=f'Use {_quoted(lists)} for a conversation, {pair}, or "{text}" for a text to be learned'
        " as a whole.",
    )


def _quoted(keys: Sequence[str]) -> str:
    return " or ".join(f'"{key}"' for key in keys)


def row_field_type(field: str, expected: str, found: str) -> Problem:
    """A field has the wrong JSON type; its value may be private and is not shown."""
    return Problem(
        code="MENS-D031",
        what=f"{field} is {found}.",
        fix=f"It must be {expected}.",
    )


def row_field_blank(field: str) -> Problem:
    """A required text is missing or blank."""
    return Problem(
        code="MENS-D032",
        what=f"{field} is missing or blank.",
        fix="Fill it in, or remove the row.",
    )


def role_unknown(field: str, known: Sequence[str]) -> Problem:
    """A turn with an unknown role."""
    return Problem(
        code="MENS-D033",
        what=f"{field} is not a known role.",
        fix=f"Use one of: {', '.join(known)}.",
    )


def conversations_conflict(one: str, other: str) -> Problem:
    """A row holds two different conversations."""
    return Problem(
        code="MENS-D034",
        what=f"the row has different conversations under {one} and {other}.",
        fix="Keep one of them.",
    )


SYSTEM_PROMPTS_CONFLICT = Problem(
    code="MENS-D035",
    what="the row's system field differs from the system message of its conversation.",
    fix="Keep one of them.",
)
"""A row has one system prompt in its own field and a different one in its messages."""


def content_part_unsupported(field: str, kind: str | None) -> Problem:
    """A typed part that is not text: an image, audio, a file."""
    found = "not a text part" if kind is None else f"a part of type {kind}"
    return Problem(
        code="MENS-D036",
        what=f"{field} is {found}; only text can be learned.",
        fix='Write content as a string, or as parts like {"type": "text", "text": "..."}.',
    )


def weight_not_binary(place: str, field: str, *, is_flag: bool) -> Problem:
    """Whether a message is learned, as neither yes nor no."""
    no, yes = ("false", "true") if is_flag else ("0", "1")
    return Problem(
        code="MENS-D038",
        what=f"{field} is neither {no} nor {yes}.",
        fix=f"Write {no} for a message that must not be learned, {yes} or nothing for one that"
        " must.",
        where=place,
    )


def weight_without_effect(field: str) -> Problem:
    """A weight on a message that is never learned."""
    return Problem(
        code="MENS-D039",
        what=f"{field} asks to learn a message, but only assistant messages are learned.",
        fix="Remove it, or change the role.",
    )


NO_ASSISTANT_MESSAGE = Problem(
    code="MENS-D041",
    what="the conversation has no assistant message, so there is nothing to learn.",
    fix="Add the answer, or remove the row.",
)
"""A conversation without an answer."""


def marker_in_text(markers: Sequence[str]) -> Problem:
    """A message could open or close a turn, because the tokenizer has the markers only as text."""
    return Problem(
        code="MENS-D042",
        what=f"a message contains {' or '.join(markers)}, which this tokenizer cannot tell "
        "from the markup around messages.",
        fix="Remove it, or use a tokenizer that has it as a control token (--tokenizer vox).",
    )


def nothing_to_learn(truncated: bool) -> Problem:
    """No token of a row is supervised."""
    if truncated:
        what = "its prompt fills the whole sequence, so nothing is left to learn."
        fix = "Raise --seq-len, shorten the prompt, or pass --on-bad-row skip."
    else:
        what = "the row has nothing to learn: every assistant message has weight 0."
        fix = "Set the weight of an assistant message to 1, or remove the row."
    return Problem(code="MENS-D043", what=what, fix=fix)


def nothing_to_learn_anywhere(rows: int) -> Problem:
    """A file without a single supervised token."""
    return Problem(
        code="MENS-D044",
        what=f"its {rows} rows have no token to learn.",
        fix="Check the weights of assistant messages, and whether prompts alone fill --seq-len.",
    )


def row_too_long(tokens: int, limit: int) -> Problem:
    """A row exceeds the sequence length, and the operator chose to get an error."""
    return Problem(
        code="MENS-D045",
        what=f"the row has {tokens} tokens, more than the {limit} of --seq-len.",
        fix="Raise --seq-len, or pass --on-long-row truncate or skip.",
    )


DATA_FILE_EMPTY = Problem(code="MENS-D046", what="the file has no rows.", fix="Write rows to it.")
"""A file without any rows."""


def no_row_left(dropped: Sequence[str]) -> Problem:
    """Filters and skipping leave no rows."""
    return Problem(
        code="MENS-D047",
        what=f"no rows are left; dropped: {', '.join(dropped)}.",
        fix="Relax --min-rating or --context-filter, or fix the rows.",
    )


DATA_FILE_CHANGED = Problem(
    code="MENS-D048",
    what="the file changed after it was checked.",
    fix="Do not change it while it is in use; start the command again.",
)
"""The file is no longer the one that was checked."""

PROMPT_NOT_UNICODE = Problem(
    code="MENS-D049",
    what="the text is not Unicode: it has half of a surrogate pair.",
    fix="Write it in UTF-8.",
)
"""A lone surrogate, which terminals produce for bytes that are not UTF-8."""

SOURCE_FOLDER_MISSING = Problem(
    code="MENS-D060",
    what="there is no such folder.",
    fix="Pass a folder of Python sources with --from-python.",
)
"""The folder to make a corpus from does not exist."""


def no_pairs_found(modules: int, unparsable: int) -> Problem:
    """A folder without a function that makes a training row."""
    return Problem(
        code="MENS-D061",
        what=f"none of its {modules} Python files gives a training row"
        f" ({unparsable} of them cannot be parsed).",
        fix="Pass a folder with documented functions; the docstring must contain a sentence.",
    )


CORPUS_FILE_OCCUPIED = Problem(
    code="MENS-D062",
    what="a file of this name exists with different content.",
    fix="Choose another --output-dir, move the file away, or pass --force.",
)
"""A different file exists where the corpus should go."""

OUTPUT_IS_INPUT = Problem(
    code="MENS-D063",
    what="the output is the input file.",
    fix="Choose another output file.",
)
"""A command would overwrite the corpus it reads."""


def skip_rate_exceeded(skipped: int, rows: int, limit: float) -> Problem:
    """More rows are unusable than the operator accepts."""
    return Problem(
        code="MENS-P022",
        what=f"the skip rate is {skipped / rows:.4g} ({skipped} of {rows} rows), more than the"
        f" {limit:g} that --qlora-max-skip-rate allows.",
        fix="Fix the rows that vox mens corpus validate lists, or raise --qlora-max-skip-rate.",
    )
