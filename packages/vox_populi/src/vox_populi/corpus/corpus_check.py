"""Examining files of rows before training: errors, layouts, lengths, repetition, leakage.

One pass over each file. Kept are counts, and for each row what `LikenessTable` keeps.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vox_populi.corpus.length_counts import LabelCounts, LengthCounts
from vox_populi.corpus.likeness_table import Likenesses, LikenessTable, Overlap
from vox_populi.corpus.row_groups import label_key, prompt_key
from vox_populi.corpus.row_scan import RowScan, ScannedRow
from vox_populi.data.control_spelling import ControlSpelling
from vox_populi.data.mask_tally import MaskCounts
from vox_populi.data.row_formats import RowShape, row_shape
from vox_populi.data.row_mask import Finding, RowMask
from vox_populi.data.row_scan import RowRules, left_out_by
from vox_populi.data.row_texts import row_sizes, row_texts
from vox_populi.errors import DataError
from vox_populi.files.json_report import JsonReport, shown
from vox_populi.operator_messages import data as say_data
from vox_tensor.errors import Problem
from vox_tensor.records import Role, TrainingRecord

Encode = Callable[[ScannedRow], Sequence[RowMask]]
"""A row as it is trained, with its findings; some templates make several of one."""

_EXCERPT = 200
"""Characters of a row that a page shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheck(JsonReport):
    """One file."""

    path: Path
    heldout: bool = False
    rows: int
    """Usable and bad rows."""
    left_out: int = 0
    """Rows that the rules leave out; they are not among `rows`."""
    bad: int = field(metadata=shown("bad_rows"))
    problems: tuple[Problem, ...]
    """Equal ones folded; the first 20, and a count of the others."""
    problems_by_code: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RowExcerpt:
    """Place of a row, and the beginning of its text."""

    place: str
    text: str


@dataclass(frozen=True, slots=True)
class PairExample:
    """Two rows, and how alike they are."""

    likeness: float
    row: RowExcerpt
    other: RowExcerpt
    how: Overlap = Overlap.NEAR

    @property
    def words(self) -> str:
        """What they have in common."""
        if self.how is Overlap.NEAR:
            return f"{100 * self.likeness:.0f} % alike"
        return self.how.value

    def as_json(self) -> dict[str, object]:
        """The places only: rows may be private."""
        return {
            "how": self.how.value,
            "likeness": round(self.likeness, 3),
            "row": self.row.place,
            "other": self.other.place,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusFindings:
    """What was found in all files together."""

    files: tuple[FileCheck, ...]
    layouts: Mapping[str, int]
    lengths: Mapping[str, LengthCounts]
    learned: int
    """Learned characters of the corpus, or tokens if a base counted them."""
    total: int
    unit: str
    control_text: int
    """Rows of the corpus with text that spells a control token."""
    likenesses: Likenesses
    repeated: tuple[tuple[int, tuple[RowExcerpt, ...]], ...] = ()
    """Size and first rows of the largest sets of equal rows."""
    near: tuple[PairExample, ...] = ()
    overlaps: tuple[PairExample, ...] = ()
    masks: MaskCounts | None = None
    """Counts under the base's tokenizer, if one was passed."""

    @property
    def left_out(self) -> int:
        """Rows that the rules leave out, held-out ones included."""
        return sum(file.left_out for file in self.files)

    @property
    def rows(self) -> int:
        """Rows of the corpus, without held-out ones."""
        return sum(file.rows for file in self.files if not file.heldout)

    @property
    def bad(self) -> int:
        """Bad rows in all files."""
        return sum(file.bad for file in self.files)

    @property
    def usable(self) -> int:
        """Usable rows of the corpus."""
        return self.rows - sum(file.bad for file in self.files if not file.heldout)

    @property
    def heldout(self) -> int:
        """Usable held-out rows."""
        return sum(file.rows - file.bad for file in self.files if file.heldout)

    @property
    def learned_share(self) -> float:
        """Learned text as a share of all."""
        return self.learned / self.total if self.total else 0.0


@dataclass(slots=True)
class CorpusCheck:
    """Goes through files and collects what is found.

    Args:
        spelling: Names of control tokens to look for in texts.
        has_tokens: Whether tokens are counted too; then each file is read with what makes them.
        least_likeness: From which two rows are nearly the same.
        rules: Which rows are looked at; their policies for bad and long rows do not matter.
    """

    spelling: ControlSpelling
    has_tokens: bool = False
    least_likeness: float = 0.8
    rules: RowRules = field(default_factory=RowRules)
    _files: list[FileCheck] = field(default_factory=list)
    _scans: list[RowScan] = field(default_factory=list)
    _indices: array[int] = field(default_factory=lambda: array("Q"))
    """File and index of each row of the table."""
    _layouts: LabelCounts = field(default_factory=LabelCounts)
    _lengths: dict[str, LengthCounts] = field(default_factory=dict)
    _masks: MaskCounts = field(default_factory=MaskCounts)
    _table: LikenessTable = field(init=False)
    _learned: int = 0
    _control_text: int = 0

    def __post_init__(self) -> None:
        self._table = LikenessTable(least_likeness=self.least_likeness)
        names = ["turns", "characters", "prompt characters", "answer characters"]
        for name in (*names, *(["tokens"] if self.has_tokens else [])):
            self._lengths[name] = LengthCounts()

    def read(self, path: Path, *, heldout: bool = False, encode: Encode | None = None) -> None:
        """Go through a file.

        Args:
            path: The file.
            heldout: Whether its rows are held out.
            encode: Makes tokens of its rows; `None` to count characters only.

        Raises:
            DataError: When it cannot be read. Bad rows are counted and not raised.
        """
        scan = RowScan(path)
        number, rows, unencodable, left_out = len(self._scans), 0, 0, 0
        self._scans.append(scan)
        for row in scan.rows():
            if left_out_by(row.record, self.rules) is not None:
                left_out += 1
                continue
            try:
                masks = self._masks_of(row, encode)
            except DataError as error:
                unencodable += 1
                scan.log.add(error.problems)
                continue
            rows += 1
            self._indices.append(number << _INDEX_BITS | row.read.index)
            self._add(row, masks, heldout=heldout)
        scan.check_unchanged()
        bad = scan.n_bad + unencodable
        if not rows + bad + left_out:
            raise DataError(say_data.DATA_FILE_EMPTY.at(scan.where))
        self._files.append(
            FileCheck(
                path=path,
                rows=rows + bad,
                bad=bad,
                problems=scan.log.shown(),
                problems_by_code=dict(sorted(scan.log.by_code.items())),
                heldout=heldout,
                left_out=left_out,
            )
        )

    def findings(self) -> CorpusFindings:
        """Compare all rows, and sum up.

        Raises:
            DataError: When a file changed.
        """
        found = self._table.compare()
        has_tokens = self.has_tokens
        characters = self._lengths["characters"].total
        return CorpusFindings(
            files=tuple(self._files),
            layouts=self._layouts.ranked(),
            lengths=self._lengths,
            learned=self._masks.learned_tokens if has_tokens else self._learned,
            total=self._masks.tokens if has_tokens else characters,
            unit="tokens" if has_tokens else "characters",
            control_text=self._control_text,
            likenesses=found,
            repeated=tuple(
                (size, tuple(map(self._excerpt, rows[:_MOST_PLACES])))
                for size, rows in found.groups
            ),
            near=tuple(self._example(*pair) for pair in found.near_pairs),
            overlaps=tuple(self._example(*pair, how) for how, pair in found.overlaps),
            masks=self._masks if has_tokens else None,
        )

    def _masks_of(self, row: ScannedRow, encode: Encode | None) -> Sequence[RowMask]:
        """The row as tokens, if they are counted; one that learns none of them is bad."""
        if encode is None:
            return ()
        masks = encode(row)
        if not any(mask.n_learned for mask in masks):
            is_cut = any(Finding.CUT in mask.findings for mask in masks)
            raise DataError(say_data.nothing_to_learn(is_cut).at(row.place))
        return masks

    def _add(self, row: ScannedRow, masks: Sequence[RowMask], *, heldout: bool) -> None:
        record = row.record
        texts = [text for text in row_texts(record) if text]
        said = (each.content for each in record.messages if each.role is not Role.SYSTEM)
        self._table.add(_row_key(record), prompt_key(record), "\n".join(said), heldout=heldout)
        if heldout:
            return
        self._layouts.add((row_shape(row.value) or RowShape.PROMPT_RESPONSE).value)
        self._control_text += any(map(self.spelling.occurs_in, texts))
        self._add_lengths(record)
        if masks:
            self._masks.rows += 1
            self._masks.take(masks)
        for mask in masks:
            self._lengths["tokens"].add(mask.n_whole)

    def _add_lengths(self, record: TrainingRecord) -> None:
        sizes, lengths = row_sizes(record), self._lengths
        self._learned += sizes.learned
        lengths["turns"].add(len(record.messages))
        lengths["characters"].add(sizes.everything)
        lengths["prompt characters"].add(sizes.everything - sizes.answers)
        lengths["answer characters"].add(sizes.answers)

    def _example(
        self, like: float, row: int, other: int, how: Overlap = Overlap.NEAR
    ) -> PairExample:
        return PairExample(like, self._excerpt(row), self._excerpt(other), how)

    def _excerpt(self, row: int) -> RowExcerpt:
        place = self._indices[row]
        scan = self._scans[place >> _INDEX_BITS]
        read = scan.read(place & (1 << _INDEX_BITS) - 1)
        said = " ".join(
            each.content for each in read.record.messages if each.role is not Role.SYSTEM
        )
        return RowExcerpt(read.place, said if len(said) <= _EXCERPT else f"{said[:_EXCERPT]}…")


_INDEX_BITS = 48
_MOST_PLACES = 5
"""Rows of a set of equal ones whose places are shown."""


def _row_key(record: TrainingRecord) -> int:
    """The hash of everything of a row that a model could learn."""
    turns = [
        [each.role.value, each.content, each.learn, each.reasoning, repr(each.tool_calls)]
        for each in record.messages
    ]
    return label_key([turns, list(record.tools)])
