"""`vox mens preview`: rows as the trainer would see them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.mask_text import mask_text
from vox_cli.output_flags import PreviewConsole
from vox_cli.preview_text import PreviewLook, preview_text
from vox_cli.terminal import STDOUT
from vox_cli.value_parsers import day, template_word, whole_number
from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.template_word import TEMPLATE_METAVAR
from vox_populi.data.chat_template import DEFAULT_DAY
from vox_populi.data.control_text import ControlText
from vox_populi.data.dataset import OnBadRow, OnLongRow
from vox_populi.data.learned_parts import LearnedParts
from vox_populi.data.mask_gates import MaskGates
from vox_populi.data.template_rows import History
from vox_populi.data.training_text import ChatTemplate
from vox_populi.number_ranges import COUNT, RATING, SEQ_LEN, SHARE, TEXT_CHARS
from vox_populi.pipeline.preview import PreviewRequest, preview_rows
from vox_populi.pipeline.preview_check import MaskCheckRequest, check_masks


def preview(
    console: PreviewConsole,
    data: Annotated[
        list[Path], flags.repeated_path("File or folder of rows; repeat it for more.", "FILE|DIR")
    ],
    model: Annotated[
        Path | None, flags.path("Folder whose tokenizer is used.", "DIR", default="vox-nano")
    ] = None,
    count: Annotated[
        int,
        flags.value("Number of rows.", whole_number(COUNT), "N", 3, ("-n", "--count")),
    ] = 3,
    row: Annotated[
        int | None,
        flags.whole("Show only this one of the rows that training uses, from 1.", COUNT),
    ] = None,
    line: Annotated[
        int | None, flags.whole("Show only the row on this line of the file.", COUNT)
    ] = None,
    tokenizer: Annotated[
        TokenizerKind | None,
        flags.choice("Vocabulary.", TokenizerKind, default="hf with --model, else vox"),
    ] = None,
    template: Annotated[
        Any, flags.value("Template of a row.", template_word, TEMPLATE_METAVAR, default="auto")
    ] = ChatTemplate.AUTO,
    template_date: Annotated[
        str, flags.value("The date that a chat template prints.", day, "YYYY-MM-DD", DEFAULT_DAY)
    ] = DEFAULT_DAY,
    system_prompt: Annotated[str | None, flags.text("System prompt for rows without one.")] = None,
    history: Annotated[
        History,
        flags.choice(
            "Answers that the template rewrites later: refuse, learn the last, or split the row.",
            History,
            default="error",
        ),
    ] = History.ERROR,
    learn: Annotated[
        LearnedParts,
        flags.choice(
            "What is learned of a row: its answers, the last one, or every token.",
            LearnedParts,
            default="answers",
        ),
    ] = LearnedParts.ANSWERS,
    on_control_text: Annotated[
        ControlText,
        flags.choice(
            "Rows that spell a control token: keep as text, refuse, skip or make it.",
            ControlText,
            default="text",
        ),
    ] = ControlText.TEXT,
    seq_len: Annotated[
        int, flags.whole("Largest number of tokens per row.", SEQ_LEN, default=512)
    ] = 512,
    ce_last_k: Annotated[
        int | None,
        flags.value(
            "Show only the last N supervised tokens as learned.",
            whole_number(COUNT),
            "N",
            names=("--ce-last-k", "--qlora-ce-last-k"),
        ),
    ] = None,
    min_rating: Annotated[
        int, flags.whole("Skip rows with a lower rating.", RATING, default=3)
    ] = 3,
    context_filter: Annotated[
        str | None, flags.text("Use only rows whose category contains this.")
    ] = None,
    on_bad_row: Annotated[
        OnBadRow,
        flags.choice("What to do with rows that cannot be used.", OnBadRow, default="error"),
    ] = OnBadRow.ERROR,
    on_long_row: Annotated[
        OnLongRow,
        flags.choice("What to do with rows longer than --seq-len.", OnLongRow, default="truncate"),
    ] = OnLongRow.TRUNCATE,
    text_chunk_chars: Annotated[
        int,
        flags.whole("Most characters of a row of plain text or Markdown.", TEXT_CHARS, 2000),
    ] = 2000,
    no_row_cache: Annotated[
        bool, flags.switch("Keep and use no encoded rows of large files.", "--no-row-cache")
    ] = False,
    row_cache_dir: Annotated[
        Path | None,
        flags.path("Folder of the row cache.", "DIR", "vox-mens in the user's cache folder"),
    ] = None,
    check: Annotated[
        bool,
        flags.switch("Count what is learned of all rows; exit 6 if a gate is missed.", "--check"),
    ] = False,
    max_refused_share: Annotated[
        float, flags.real("With --check: most rows that are refused.", SHARE, default=0)
    ] = 0.0,
    max_no_end_share: Annotated[
        float,
        flags.real(
            "With --check: most rows that learn an answer without an end.", SHARE, default=0
        ),
    ] = 0.0,
    max_wrong_bos_share: Annotated[
        float,
        flags.real(
            "With --check: most rows without exactly one BOS, if the base adds one.",
            SHARE,
            default=0,
        ),
    ] = 0.0,
    max_cut_share: Annotated[
        float, flags.real("With --check: most rows longer than --seq-len.", SHARE, default=0.05)
    ] = 0.05,
    min_learned_share: Annotated[
        float, flags.real("With --check: least share of tokens learned.", SHARE, default=0.01)
    ] = 0.01,
    max_control_share: Annotated[
        float | None,
        flags.real("With --check: most rows with text that spells a control token.", SHARE),
    ] = None,
    html: Annotated[
        Path | None, flags.path("Write a page with these counts and marked rows.", "FILE")
    ] = None,
    force: Annotated[bool, flags.switch("Replace the page of --html.", "--force")] = False,
) -> None:
    """Show rows exactly as training would use them: what is learned, and every control token.

    The text is what the ids say. Learned text is green, or between « and » without colours; text
    that spells a control token but is not one has a backslash in front. With --json, print one
    line per row with the exact ids; the label of a token that is not learned is -100.

    With --check, go through all rows instead: count per source what is learned, cut, refused or
    without an end, and exit with code 6 if a gate is missed. --html writes these counts and some
    rows to a page.
    """
    request = PreviewRequest(
        data=tuple(data),
        model_dir=model,
        tokenizer=tokenizer,
        count=count,
        row=row,
        line=line,
        template=template,
        template_date=template_date,
        system_prompt=system_prompt,
        history=history,
        learn=learn,
        on_control_text=on_control_text,
        seq_len=seq_len,
        ce_last_k=ce_last_k,
        min_rating=min_rating,
        context_filter=context_filter,
        on_bad_row=on_bad_row,
        on_long_row=on_long_row,
        text_chunk_chars=text_chunk_chars,
        use_row_cache=not no_row_cache,
        row_cache_dir=row_cache_dir,
    )
    if check or html is not None:
        gates = MaskGates(
            max_refused_share=max_refused_share,
            max_no_end_share=max_no_end_share,
            max_wrong_bos_share=max_wrong_bos_share,
            max_cut_share=max_cut_share,
            min_learned_share=min_learned_share,
            max_control_share=max_control_share,
        )
        report = check_masks(
            MaskCheckRequest(rows=request, gates=gates if check else None, html=html, force=force)
        )
        console.notes(report.notes)
        console.gated(report, lambda found: mask_text(found, _columns()))
    else:
        _show(console, request)


def _show(console: Console, request: PreviewRequest) -> None:
    look = PreviewLook(has_color=console.has_color(STDOUT), columns=_columns())
    for shown in preview_rows(request, console.notes):
        if console.as_json:
            console.json_line(shown.as_json())
        else:
            console.styled(preview_text(shown, look))


def _columns() -> int | None:
    """Width to which results are fitted: none, unless a terminal shows them."""
    return STDOUT.columns() if STDOUT.is_terminal() else None
