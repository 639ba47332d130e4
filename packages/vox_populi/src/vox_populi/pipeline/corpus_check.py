"""Examining a corpus: its report, its gates and its page. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vox_populi import number_ranges
from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.download_choice import download_setting
from vox_populi.contract.setting import require_settings, setting, setting_metadata
from vox_populi.corpus.corpus_check import CorpusCheck, CorpusFindings, Encode
from vox_populi.corpus.row_scan import ScannedRow
from vox_populi.data.control_spelling import ControlSpelling
from vox_populi.data.learned_parts import LearnedParts
from vox_populi.data.row_cache.whole_rows import WholeRows
from vox_populi.data.row_files.open_rows import open_rows
from vox_populi.data.row_gates import Gate, flag_of, missed
from vox_populi.data.row_mask import Finding, RowMask, mask_of
from vox_populi.data.row_reader import RowEncoder
from vox_populi.data.row_scan import RowRules
from vox_populi.data.template_rows import History
from vox_populi.data.token_text import control_names
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.errors import ConfigError
from vox_populi.hf.hub_name import ModelParts
from vox_populi.number_ranges import SHARE
from vox_populi.operator_messages import row_checks as say
from vox_populi.pages.corpus_page import CorpusPage, corpus_page
from vox_populi.pages.html_file import require_free, write_page
from vox_populi.pipeline.preview import ChosenText, choose_text
from vox_populi.pipeline.preview_check import mask_rules, model_name
from vox_populi.plan.row_cache_choice import choose_row_cache
from vox_tensor.errors import Problem

KNOWN_CONTROLS = (
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|begin_of_text|>", "<|end_of_text|>"),
    *("<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|end|>", "<|user|>"),
    *("<|assistant|>", "<|system|>", "<|pad|>", "<s>", "</s>", "[INST]", "[/INST]", "<<SYS>>"),
    *("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>"),
)
"""Markers of common templates, which are looked for without a base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusGates:
    """Largest and smallest shares that pass; `None` is not checked."""

    max_errors: float | None = setting(
        0.0, "Largest share of rows that cannot be used.", allowed=SHARE
    )
    """Counted among all rows; the others are counted among usable rows."""
    max_duplicates: float | None = setting(
        None, "Largest share of rows that repeat an earlier one.", allowed=SHARE
    )
    max_near_duplicates: float | None = setting(
        None, "Largest share of rows that are nearly an earlier one.", allowed=SHARE
    )
    max_overlap: float | None = setting(
        0.0, "Largest share of held-out rows that the corpus has.", allowed=SHARE
    )
    """A row counts if it, or its prompt, is the same or nearly."""
    max_cut: float | None = setting(
        None, "Largest share of rows longer than --seq-len.", allowed=SHARE
    )
    max_control: float | None = setting(
        None, "Largest share of rows with text that spells a control token.", allowed=SHARE
    )
    min_learned: float | None = setting(
        None, "Smallest share of text that is learned.", allowed=SHARE
    )

    def __post_init__(self) -> None:
        require_settings(self)

    def judge(self, found: CorpusFindings) -> Iterator[Gate]:
        """Every gate with what was measured."""
        like, rows = found.likenesses, found.usable
        cut = 0 if found.masks is None else found.masks.findings[Finding.CUT]
        everything = sum(file.rows for file in found.files)
        yield self._rows("max_errors", found.bad, everything)
        yield self._rows("max_duplicates", like.repeated, rows)
        yield self._rows("max_near_duplicates", like.near, rows)
        if found.heldout:
            overlap = like.heldout_same + like.heldout_prompts + like.heldout_near
            yield self._rows("max_overlap", overlap, found.heldout)
        if found.masks is not None:
            yield self._rows("max_cut", cut, rows)
        yield self._rows("max_control", found.control_text, rows)
        yield Gate(
            flag=flag_of("min_learned"),
            limit=self.min_learned,
            value=found.learned_share,
            found=say.tokens_learned(found.learned, found.total, found.unit),
            fix=say.LEARN_MORE,
            is_floor=True,
        )

    def _rows(self, name: str, count: int, rows: int) -> Gate:
        words, fix = say.CORPUS_GATES[name]
        sentence = say.heldout_rows_of if name == "max_overlap" else say.rows_of
        return Gate(
            flag=flag_of(name),
            limit=getattr(self, name),
            value=count / rows if rows else 0.0,
            found=sentence(count, rows, words),
            fix=fix,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusCheckRequest:
    """A request to examine files of rows."""

    files: tuple[Path, ...] = field(metadata=setting_metadata("Files of rows.", argument="FILE..."))
    heldout: tuple[Path, ...] = setting(
        (),
        "File of held-out rows, to find those that the corpus has; repeatable.",
        name="eval",
        metavar="FILE",
    )
    model_dir: Path | None = setting(
        None, "Base folder whose tokenizer counts tokens.", name="model", model=ModelParts.TEXT
    )
    allow_download: bool = download_setting()
    tokenizer: TokenizerKind | None = setting(
        None, "Vocabulary to count tokens with.", default_text="hf with --model"
    )
    """`None`, and no model: characters are counted instead of tokens."""
    template: ChatTemplate | None = setting(
        None, "Template of a row, with a tokenizer.", default_text="as in training"
    )
    system_prompt: str | None = setting(None, "System prompt for rows without one.")
    history: History | None = setting(
        None,
        "Answers that the template rewrites later: refuse, learn the last, or split the row.",
        default_text="error",
    )
    """`None`: as in training."""
    learn: LearnedParts | None = setting(
        None,
        "What is learned of a row, with a tokenizer: its answers, the last one, or every token.",
        default_text="answers",
    )
    """`None`: as in training."""
    min_rating: int | None = setting(
        None, "Leave out rows with a lower rating.", allowed=number_ranges.RATING
    )
    context_filter: str | None = setting(None, "Look only at rows whose category contains this.")
    seq_len: int | None = setting(
        None, "Count rows with more tokens than this.", allowed=number_ranges.SEQ_LEN
    )
    use_row_cache: bool = setting(
        True, "Encode large files with all cores, and keep their rows.", name="row_cache"
    )
    row_cache_dir: Path | None = setting(
        None, "Folder that keeps them.", default_text="vox-mens in the user's cache folder"
    )
    similarity: float = setting(
        0.8,
        "Rows with this share of three-word sequences in common are nearly the same.",
        allowed=number_ranges.POSITIVE_SHARE,
    )
    gates: CorpusGates = field(default_factory=CorpusGates)
    html: Path | None = setting(None, "Write a page with charts and examples.", metavar="FILE")
    force: bool = setting(False, "Replace the page of --html.")

    def __post_init__(self) -> None:
        require_settings(self)
        problems = [*self._without_base(), *self._repeated()]
        if problems:
            raise ConfigError(*problems)

    @property
    def has_base(self) -> bool:
        """Whether rows are tokenised."""
        return self.model_dir is not None or self.tokenizer is not None

    def _without_base(self) -> Iterator[Problem]:
        if self.has_base:
            return
        for flag, value in (
            ("--template", self.template),
            ("--system-prompt", self.system_prompt),
            ("--history", self.history),
            ("--learn", self.learn),
            ("--seq-len", self.seq_len),
            ("--max-cut", self.gates.max_cut),
        ):
            if value is not None:
                yield say.SETTING_NEEDS_BASE.at(flag)

    def _repeated(self) -> Iterator[Problem]:
        seen: set[Path] = set()
        for path in (*self.files, *self.heldout):
            real = path.resolve()
            if real in seen:
                yield say.CORPUS_FILE_REPEATED.at(str(path))
            seen.add(real)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusReport(CorpusPage):
    """What was found, held against the gates; a page and a terminal show it."""

    html: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every gate is kept."""
        return all(gate.ok for gate in self.gates)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The gates that are missed."""
        return missed(self.gates, " ".join(str(file.path) for file in self.found.files))

    def as_json(self) -> dict[str, object]:
        """The fields of `vox mens corpus check --json`."""
        found, like = self.found, self.found.likenesses
        overlap = {
            "rows": found.heldout,
            "same": like.heldout_same,
            "same_prompt": like.heldout_prompts,
            "near": like.heldout_near,
            "examples": [each.as_json() for each in found.overlaps],
        }
        return {
            "files": [file.as_json() for file in found.files],
            "rows": found.rows,
            "left_out": found.left_out,
            "bad_rows": found.bad,
            "layouts": dict(found.layouts),
            "lengths": {name: counts.as_json() for name, counts in found.lengths.items()},
            "learned": {
                "unit": found.unit,
                "learned": found.learned,
                "total": found.total,
                "share": round(found.learned_share, 6),
            },
            "control_text": found.control_text,
            "duplicates": {
                "rows": like.repeated,
                "groups": like.repeated_groups,
                "examples": [
                    {"rows": size, "places": [each.place for each in rows]}
                    for size, rows in found.repeated
                ],
            },
            "near_duplicates": {
                "similarity": self.similarity,
                "rows": like.near,
                "groups": like.near_groups,
                "examples": [each.as_json() for each in found.near],
            },
            "overlap": overlap if found.heldout else None,
            "base": self.base,
            "seq_len": self.seq_len,
            "masks": None if found.masks is None else found.masks.as_json(),
            "gates": [gate.as_json() for gate in self.gates],
            "html": None if self.html is None else str(self.html),
            "notes": list(self.notes),
        }


def check_corpus(request: CorpusCheckRequest) -> CorpusReport:
    """Examine files of rows, which are never modified, and write a page if requested.

    Raises:
        DataError: When a file cannot be read or has no rows. Bad rows are counted and not raised.
        ModelError: For a folder without a usable tokenizer or template.
        PreflightError: When the page would replace something.
    """
    paths = (*request.files, *request.heldout)
    if request.html is not None:
        require_free(request.html, paths, force=request.force)
    text = _chosen(request)
    check = CorpusCheck(
        spelling=ControlSpelling(
            KNOWN_CONTROLS if text is None else control_names(text.tokenizer).values()
        ),
        has_tokens=text is not None,
        least_likeness=request.similarity,
        rules=RowRules(min_rating=request.min_rating, context_filter=request.context_filter),
    )
    notes: list[str] = [] if text is None else [*text.notes]
    for path in paths:
        encode = None if text is None else _encoder(text, path, request, notes)
        check.read(path, heldout=path in request.heldout, encode=encode)
    found = check.findings()
    report = CorpusReport(
        found=found,
        gates=tuple(request.gates.judge(found)),
        similarity=request.similarity,
        base=_base_name(request),
        seq_len=request.seq_len,
        html=request.html,
        notes=tuple(dict.fromkeys(notes)),
    )
    if request.html is not None:
        write_page(request.html, corpus_page(report))
    return report


def _chosen(request: CorpusCheckRequest) -> ChosenText | None:
    if not request.has_base:
        return None
    asked = TextPolicy(
        template=request.template or ChatTemplate.AUTO,
        system_prompt=request.system_prompt,
        history=request.history or History.ERROR,
        learn=request.learn or LearnedParts.ANSWERS,
    )
    return choose_text(asked, request.model_dir, request.tokenizer)


def _encoder(text: ChosenText, path: Path, request: CorpusCheckRequest, notes: list[str]) -> Encode:
    """What makes tokens of the rows of a file; notes on how they are kept are added."""
    cache = choose_row_cache(request.row_cache_dir, None, is_used=request.use_row_cache)
    encoder = RowEncoder(text.tokenizer, text.policy, None)
    whole = WholeRows(open_rows(path), encoder, cache)
    notes += whole.notes
    rules = mask_rules(text, request.seq_len, None)

    def encode(row: ScannedRow) -> list[RowMask]:
        return [mask_of(each, rules) for each in whole.of(row.record, row.read)]

    return encode


def _base_name(request: CorpusCheckRequest) -> str | None:
    return model_name(request.model_dir) if request.has_base else None
