from __future__ import annotations

import json

from vox_populi.data.data_report import DataTally, DropReason


def test_percentiles_are_lengths_that_rows_have() -> None:
    tally = DataTally()
    for n_tokens in range(1, 101):
        tally.keep(n_tokens, 1, truncated=False)
    report = tally.report()
    assert report.length_percentiles == {50: 50, 90: 90, 99: 99}
    assert (report.shortest, report.longest) == (1, 100)


def test_the_counts_of_a_data_report_add_up() -> None:
    tally = DataTally()
    tally.keep(5, 2, truncated=False)
    tally.keep(7, 3, truncated=True)
    tally.drop(DropReason.TOO_LONG)
    report = tally.report()
    assert (report.rows, report.kept, report.truncated) == (3, 2, 1)
    assert (report.tokens, report.supervised_tokens) == (12, 5)
    assert report.dropped == {reason: int(reason is DropReason.TOO_LONG) for reason in DropReason}


def test_json_names_every_reason() -> None:
    tally = DataTally()
    tally.drop(DropReason.LOW_RATING)
    fields = json.loads(json.dumps(tally.report().as_json()))
    assert fields["dropped"] == {
        "bad_row": 0,
        "nothing_to_learn": 0,
        "low_rating": 1,
        "context_filter": 0,
        "too_long": 0,
        "control_text": 0,
    }
    assert fields["row_tokens"] == {"min": 0, "p50": 0, "p90": 0, "p99": 0, "max": 0}
