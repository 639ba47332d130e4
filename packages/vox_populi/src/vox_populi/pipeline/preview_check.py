"""Counting what training would learn of every row, and holding it against gates. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vox_populi.contract.setting_groups import BatchSettings
from vox_populi.data.asked_rows import AskedRows, asked_places, open_training_rows, shown_asked
from vox_populi.data.control_spelling import ControlSpelling
from vox_populi.data.control_text import ControlText, spells_control
from vox_populi.data.marked_row import RowMarker
from vox_populi.data.mask_gates import MaskGates
from vox_populi.data.mask_tally import MaskCounts, MaskTally
from vox_populi.data.row_cache.whole_rows import WholeRows
from vox_populi.data.row_files.row_file import FileRow, RowFile, is_about_file
from vox_populi.data.row_formats import parse_row
from vox_populi.data.row_gates import Gate, missed
from vox_populi.data.row_mask import Finding, MaskRules, mask_of
from vox_populi.data.row_reader import RowEncoder
from vox_populi.data.row_sample import RowSample, SampledRow
from vox_populi.data.row_scan import left_out_by, left_out_for_text
from vox_populi.data.supervision import end_of_answer_id, layout_of
from vox_populi.data.template_rows import RenderTokenizer
from vox_populi.data.token_text import control_names
from vox_populi.data.training_text import TextPolicy
from vox_populi.errors import DataError
from vox_populi.hf.embedded import EMBEDDED_NAME
from vox_populi.hf.hub_name import folder_name
from vox_populi.operator_messages import data as say_data
from vox_populi.operator_messages import plan as say_plan
from vox_populi.pages.html_file import require_free, write_page
from vox_populi.pages.mask_page import MaskPage, mask_page
from vox_populi.pipeline.evaluate import UNKNOWN_SOURCE, source_label
from vox_populi.pipeline.preview import ChosenText, PreviewRequest, choose_text
from vox_populi.plan.prefix_choice import PrefixSample, sample_prefixes
from vox_populi.plan.row_cache_choice import choose_row_cache
from vox_tensor.errors import Problem
from vox_tensor.problem_log import ProblemLog
from vox_tensor.records import TrainingRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskCheckRequest:
    """A request to count what training would learn."""

    rows: PreviewRequest
    gates: MaskGates | None = None
    """`None`: count, but hold it against nothing."""
    html: Path | None = None
    """The page to write."""
    force: bool = False
    """Replace the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskReport:
    """What training would learn of all rows."""

    data: AskedRows
    seq_len: int
    sources: Mapping[str, MaskCounts]
    total: MaskCounts
    refusals: tuple[Problem, ...]
    """Why rows are refused: equal problems folded, the first 20, and a count of the others."""
    refusals_by_code: Mapping[str, int]
    gates: tuple[Gate, ...]
    on_control_text: ControlText = ControlText.TEXT
    """What happens with rows that spell a control token."""
    has_bos: bool
    """Whether the base begins every text with a BOS."""
    prefixes: PrefixSample | None = None
    """What some rows begin with alike; `None` if no row could be laid out."""
    html: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every gate is kept."""
        return all(gate.ok for gate in self.gates)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The gates that are missed."""
        return missed(self.gates, shown_asked(self.data))

    def as_json(self) -> dict[str, object]:
        """The fields of `vox mens preview --check --json`."""
        return {
            "data": shown_asked(self.data),
            "seq_len": self.seq_len,
            "base_adds_bos": self.has_bos,
            "on_control_text": self.on_control_text.value,
            "total": self.total.as_json(),
            "sources": [
                {"source": name, **counts.as_json()} for name, counts in self.sources.items()
            ],
            "refusals": [problem.as_json() for problem in self.refusals],
            "refusals_by_code": dict(self.refusals_by_code),
            **self._prefixes_json(),
            "gates": [gate.as_json() for gate in self.gates],
            "html": None if self.html is None else str(self.html),
            "notes": list(self.notes),
        }

    def _prefixes_json(self) -> dict[str, object]:
        sample = self.prefixes
        return {"shared_prefixes": sample.counts()} if sample and sample.pays else {}


def check_masks(request: MaskCheckRequest) -> MaskReport:
    """Lay out and tokenise every row, count what is learned, and write a page if requested.

    Raises:
        DataError: When the file cannot be read or has no rows.
        ModelError: For a folder without a usable tokenizer or template.
        PreflightError: When the page would replace something.
    """
    asked = request.rows
    if request.html is not None:
        require_free(request.html, asked_places(asked.data), force=request.force)
    text = choose_text(asked.asked_text, asked.model_dir, asked.tokenizer)
    rows = open_training_rows(asked.data, asked.text_chunk_chars)
    check = _Check(asked, text, rows)
    check.run()
    report = check.report(request)
    if request.html is not None:
        write_page(request.html, mask_page(check.page(report)))
    return report


def mask_rules(text: ChosenText, seq_len: int | None, ce_last_k: int | None) -> MaskRules:
    """What rows are held against under a tokenizer and template."""
    tokenizer, policy = text.tokenizer, text.policy
    end = end_of_answer_id(tokenizer, policy)
    ends = {*control_names(tokenizer), tokenizer.eos_id, end}
    bos_id = _bos_id(text)
    if bos_id in (tokenizer.eos_id, end):
        bos_id = None  # It also ends texts, so its number does not tell anything.
    return MaskRules(
        seq_len=seq_len,
        ce_last_k=ce_last_k,
        end_ids=frozenset(each for each in ends if each is not None and each != bos_id),
        bos_id=bos_id,
    )


def _bos_id(text: ChosenText) -> int | None:
    """What every text begins with: by the tokenizer's own settings, or by its template."""
    tokenizer, own = text.tokenizer, text.policy.own
    if isinstance(tokenizer, RenderTokenizer) and tokenizer.bos_id is not None:
        return tokenizer.bos_id
    # A base may name the beginning of a turn as its BOS; a template that means one says so.
    if own is None or "bos_token" not in own.text:
        return None
    layout = layout_of(tokenizer, text.policy)
    return None if layout is None or layout.bos is None else layout.bos.id


class _Check:
    """One pass over the rows."""

    def __init__(self, asked: PreviewRequest, text: ChosenText, rows: RowFile) -> None:
        self._asked = asked
        self._text = text
        self._rows = rows
        self._rules = mask_rules(text, asked.seq_len, asked.ce_last_k)
        cache = choose_row_cache(asked.row_cache_dir, None, is_used=asked.use_row_cache)
        self._whole = WholeRows(rows, RowEncoder(text.tokenizer, text.policy, None), cache)
        self._spelling = ControlSpelling(control_names(text.tokenizer).values())
        self._tally = MaskTally()
        self._refused = ProblemLog(rows.name)
        self._sample = RowSample()

    def run(self) -> None:
        """Read the file."""
        for item in self._rows.scan():
            if isinstance(item, FileRow):
                self._take(item)
            elif is_about_file(item, self._rows):
                raise DataError(item)
            else:
                self._refuse([item], self._places(_file_of(item, self._rows)))
        self._rows.check_unchanged()
        if not self._tally.total.rows:
            raise DataError(say_data.DATA_FILE_EMPTY.at(self._rows.name))

    def _places(self, file: str, record: TrainingRecord | None = None) -> Sequence[MaskCounts]:
        label = None if record is None else _label(record)
        places = self._tally.places(file, label)
        for counts in places:
            counts.rows += 1
        return places

    def _refuse(self, problems: Sequence[Problem], places: Sequence[MaskCounts]) -> None:
        self._refused.add(problems)
        for counts in places:
            counts.refused += 1

    def _take(self, read: FileRow) -> None:
        try:
            record = parse_row(read.value, read.line, read.where)
        except DataError as error:
            self._refuse(error.problems, self._places(read.where))
            return
        places = self._places(read.where, record)
        spells = spells_control(record, self._text.tokenizer)
        try:
            if self._is_left_out(record, read.place, spells=spells):
                for counts in places:
                    counts.left_out += 1
            else:
                self._take_record(record, read, places, spells=spells)
        except DataError as error:
            self._refuse(error.problems, places)

    def _is_left_out(self, record: TrainingRecord, place: str, *, spells: bool) -> bool:
        if left_out_by(record, self._asked) is not None:
            return True
        return spells and left_out_for_text(self._asked.on_control_text, place) is not None

    def _take_record(
        self,
        record: TrainingRecord,
        read: FileRow,
        places: Sequence[MaskCounts],
        *,
        spells: bool,
    ) -> None:
        masks = [
            mask_of(whole, self._rules, spells_control=spells)
            for whole in self._whole.of(record, read)
        ]
        for counts in places:
            counts.take(masks)
        if not any(mask.n_learned for mask in masks):
            is_cut = any(Finding.CUT in mask.findings for mask in masks)
            self._refuse([say_data.nothing_to_learn(is_cut).at(read.place)], places)
            return
        source = _label(record) or read.where
        for mask in masks:
            self._sample.offer(SampledRow(read.place, source, mask))

    def report(self, request: MaskCheckRequest) -> MaskReport:
        """The counts, held against the gates."""
        gates = () if request.gates is None else tuple(request.gates.judge(self._tally.total))
        return MaskReport(
            data=self._asked.data,
            seq_len=self._asked.seq_len,
            sources=self._tally.sources,
            total=self._tally.total,
            refusals=self._refused.shown(),
            refusals_by_code=dict(sorted(self._refused.by_code.items())),
            gates=gates,
            on_control_text=self._asked.on_control_text,
            has_bos=self._rules.bos_id is not None,
            prefixes=self._prefixes(),
            html=request.html,
            notes=(*self._text.notes, *self._whole.notes, *self._kept_notes()),
        )

    def _prefixes(self) -> PrefixSample | None:
        rows = [each.mask.row.ids[: self._asked.seq_len] for each in self._sample.by_chance]
        if not rows:
            return None
        per_step = BatchSettings().rows_per_step
        return sample_prefixes([len(row) for row in rows], rows.__getitem__, per_step)

    def _kept_notes(self) -> tuple[str, ...]:
        count = self._tally.total.findings[Finding.CONTROL_TEXT]
        if self._asked.on_control_text is not ControlText.KEEP or not count:
            return ()
        return (say_plan.note_control_text_kept(self._rows.name, count),)

    def page(self, report: MaskReport) -> MaskPage:
        """What the page shows."""
        marker = RowMarker(self._text.tokenizer)
        asked = self._asked
        return MaskPage(
            data=shown_asked(asked.data),
            facts=(
                ("model", model_name(asked.model_dir)),
                ("template", _template_words(self._text.policy)),
                ("sequence length", f"{asked.seq_len:,} tokens"),
                ("BOS", "added by the base" if report.has_bos else "not added by the base"),
            ),
            sources=report.sources,
            total=report.total,
            gates=report.gates,
            refusals=report.refusals,
            rows=[(each, marker.marked(each.mask.row, each.source)) for each in self._sample.rows],
            seen=self._sample.seen,
            spelling=self._spelling,
        )


def model_name(folder: Path | None) -> str:
    """The name of a base without its path, since pages are passed on."""
    return EMBEDDED_NAME if folder is None else folder_name(folder)


def _template_words(policy: TextPolicy) -> str:
    """The template that was chosen."""
    return policy.kind.value if policy.own is None else Path(policy.own.where).name


def _file_of(problem: Problem, rows: RowFile) -> str:
    """Name of the file of a line that cannot be read."""
    where = problem.where or rows.name
    return where.rpartition(":")[0] or where


def _label(record: TrainingRecord) -> str | None:
    label = source_label(record)
    return None if label == UNKNOWN_SOURCE else label
