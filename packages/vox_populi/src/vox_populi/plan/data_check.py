"""The data of a run: its files found and checked row by row, and the held-out rows chosen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.data.data_report import DataReport, DropReason
from vox_populi.data.dataset import DatasetOptions, RowDataset, open_dataset, split_validation
from vox_populi.data.folder_rows import (
    TRAIN_FILE,
    FolderRows,
    files_of,
    folder_rows,
    other_rows,
    shown_names,
)
from vox_populi.data.row_files.joined_rows import open_all_rows
from vox_populi.data.training_text import TextPolicy
from vox_populi.errors import DataError
from vox_populi.operator_messages import data as say_qlora
from vox_populi.operator_messages import plan as say_plan
from vox_populi.plan.execution_planner import DataFacts
from vox_populi.plan.findings import Findings
from vox_populi.plan.prefix_choice import PrefixSample, sample_prefixes
from vox_populi.plan.row_cache_choice import choose_row_cache
from vox_tensor.errors import Problem
from vox_tensor.tokenizer import TextTokenizer

_SKIPPED = (
    *(DropReason.BAD_ROW, DropReason.NOTHING_TO_LEARN, DropReason.TOO_LONG),
    DropReason.CONTROL_TEXT,
)
"""Reasons for rows that should be learned but cannot be; filters skip others on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRows:
    """Training rows and held-out rows."""

    train: RowDataset
    train_file: str
    """Name of the training rows: of their file, or of the first of several."""
    valid: RowDataset
    """Held-out rows; may be empty."""
    valid_file: str | None
    """The same for `valid`; `None` if it is split off the training rows."""
    unread: tuple[str, ...] = ()
    """Files of rows in the folder that are not used."""

    @property
    def digests(self) -> dict[str, str]:
        """Content digests of the files: `data` and, where there is one, `valid`."""
        data = {"data": self.train.digest}
        return {**data, "valid": self.valid.digest} if self.valid_file else data

    def facts(self, rows_per_step: int, *, is_tokenised: bool) -> DataFacts:
        """Facts for the planner; without lengths if rows were not tokenised."""
        both = (self.train, self.valid)
        facts = DataFacts(
            n_train_rows=len(self.train),
            n_valid_rows=len(self.valid),
            train_file=self.train_file,
            valid_file=self.valid_file,
            graded_rows=self.train.report.graded,
            trajectory_rows=self.train.report.trajectories,
        )
        if not is_tokenised:
            return facts
        return replace(
            facts,
            longest_row=max(max(rows.lengths, default=0) for rows in both),
            tokens=sum(rows.n_tokens for rows in both),
            supervised_tokens=sum(rows.n_supervised for rows in both),
            prefixes=_prefixes(self.train, rows_per_step),
        )

    def notes(self, seq_len: int) -> tuple[str, ...]:
        """Notes on rows that are skipped or changed."""
        notes = _report_notes(self.train_file, self.train.report, seq_len)
        if self.valid_file:
            notes += _report_notes(self.valid_file, self.valid.report, seq_len)
            if self.valid.digest == self.train.digest:
                notes.append(say_plan.note_valid_is_train(self.valid_file))
        if self.unread:
            used = self.valid_file or f"a split of {self.train_file}"
            notes.append(say_plan.note_rows_not_read(used, self.unread))
        return tuple(notes)

    @property
    def local_notes(self) -> tuple[str, ...]:
        """Notes on where encoded rows are kept."""
        return tuple(dict.fromkeys((*self.train.notes, *self.valid.notes)))


def _prefixes(rows: RowDataset, rows_per_step: int) -> PrefixSample | None:
    if not len(rows):
        return None
    return sample_prefixes(rows.lengths, lambda index: rows[index].ids, rows_per_step)


def check_rows(
    contract: FinetuneContract,
    tokenizer: TextTokenizer,
    policy: TextPolicy,
    found: Findings,
    *,
    is_tokenised: bool,
) -> CheckedRows | None:
    """Open the rows of a request; `None` if there is any problem.

    Args:
        contract: The request.
        tokenizer: The request's tokenizer, or a stand-in if it is not available.
        policy: The request's text policy, with the base's template if it means that.
        found: Receives every problem of both files.
        is_tokenised: Whether `tokenizer` is the real one. Under a stand-in lengths mean
            nothing, so no row is cut or refused for its length.
    """
    chosen = found.attempt(lambda: chosen_files(contract))
    if chosen is None:
        return None
    options = DatasetOptions.of(
        contract.rows,
        seq_len=contract.batching.seq_len if is_tokenised else None,
        ce_last_k=contract.ce_last_k,
        trajectory=contract.trajectory,
    )

    keeping = contract.row_keeping
    cache = choose_row_cache(
        keeping.row_cache_dir,
        contract.compute.threads,
        is_used=keeping.use_row_cache and is_tokenised,
    )

    def opened(files: tuple[Path, ...]) -> RowDataset | None:
        return found.attempt(
            lambda: open_dataset(
                open_all_rows(files, options.text_chunk_chars), tokenizer, policy, options, cache
            )
        )

    train = opened(chosen.train)
    valid = opened(chosen.valid) if chosen.valid else None
    if train is None or (chosen.valid and valid is None):
        return None
    if valid is None:
        ratio, seed = contract.validation_split_ratio, contract.seed
        kept, held_out = split_validation(len(train), ratio, seed)
        train, valid = train.select(kept), train.select(held_out)
    return CheckedRows(
        train=train,
        train_file=shown_names(chosen.train),
        valid=valid,
        valid_file=shown_names(chosen.valid) if chosen.valid else None,
        unread=chosen.unread,
    )


def chosen_files(contract: FinetuneContract) -> FolderRows:
    """The files of a request, with at least one of training rows.

    Raises:
        DataError: With every path that does not have any.
    """
    if contract.data_dir is not None:
        problem = _place_problem(contract.data_dir)
        if problem is not None:
            raise DataError(problem)
        return folder_rows(contract.data_dir)
    return files_of(contract.data)


def _place_problem(folder: Path) -> Problem | None:
    """Why a data folder cannot be read, depending on what exists instead."""
    where = str(folder)
    if not is_folder(folder):
        if not os.path.lexists(folder):
            return say_plan.DATA_FOLDER_MISSING.at(where)
        if folder.name == TRAIN_FILE:
            return say_plan.data_dir_is_train_file(str(folder.parent)).at(where)
        return say_plan.data_dir_is_file(where)
    if folder_rows(folder).train:
        return None
    rows = other_rows(folder)
    path = str(folder / TRAIN_FILE)
    if rows is None:
        return say_plan.TRAIN_FILE_MISSING.at(path)
    return say_plan.no_file_named_train(str(rows.path), rows.form).at(path)


def skip_rate_problems(contract: FinetuneContract, rows: CheckedRows) -> Iterator[Problem]:
    """Whether more training rows are skipped than the request accepts."""
    limit, report = contract.qlora.max_skip_rate, rows.train.report
    skipped = sum(report.dropped[reason] for reason in _SKIPPED)
    if limit is not None and skipped > limit * report.rows:
        where = rows.train.rows.name
        yield say_qlora.skip_rate_exceeded(skipped, report.rows, limit).at(where)


def _report_notes(file: str, report: DataReport, seq_len: int) -> list[str]:
    notes: list[str] = []
    dropped = [f"{count} {reason}" for reason, count in report.dropped.items() if count]
    if dropped:
        notes.append(say_plan.note_rows_left_out(file, ", ".join(dropped), report.rows))
    if report.ignored_labels:
        notes.append(say_plan.note_labels_ignored(file, report.ignored_labels))
    if report.control_rows:
        notes.append(say_plan.note_control_text_kept(file, report.control_rows))
    if report.truncated:
        notes.append(say_plan.note_rows_truncated(file, report.truncated, seq_len))
    return notes


def is_folder(path: Path) -> bool:
    """Whether it is a folder this user may examine; `Path.is_dir` raises if they may not."""
    return os.path.isdir(path)  # noqa: PTH112 - see above
