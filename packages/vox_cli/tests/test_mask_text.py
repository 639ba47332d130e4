from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from vox_cli.mask_text import mask_text
from vox_cli.text_width import cells
from vox_populi.data.mask_tally import MaskCounts
from vox_populi.data.row_mask import Finding
from vox_populi.pipeline.preview_check import MaskReport
from vox_populi.plan.prefix_choice import PrefixSample

COUNTS = MaskCounts(
    rows=1000, refused=2, tokens=300_000, learned_tokens=1, findings=Counter({Finding.CUT: 999})
)
REPORT = MaskReport(
    data=Path("rows.jsonl"),
    seq_len=512,
    sources={"a": COUNTS, "b\nerror forged": MaskCounts()},
    total=COUNTS,
    refusals=(),
    refusals_by_code={},
    gates=(),
    has_bos=False,
)


def test_shares_that_are_almost_nothing_or_everything_say_so() -> None:
    text = mask_text(REPORT, None)
    assert "learned          1 (under 0.001 %)" in text
    assert "longer than 512  999 (99.9 %)" in text
    assert "\nerror" not in text


SHARING = replace(REPORT, prefixes=PrefixSample(rows=144, tokens=1000, distinct=98, common=90))


def test_what_rows_begin_with_alike_is_shown_if_it_saves_anything() -> None:
    assert "begin alike      90.2 % of tokens" in mask_text(SHARING, None)
    apart = PrefixSample(rows=144, tokens=1000, distinct=1000, common=3)
    for report in (REPORT, replace(REPORT, prefixes=apart)):
        assert "begin alike" not in mask_text(report, None)


@pytest.mark.parametrize("report", [REPORT, SHARING])
@pytest.mark.parametrize("columns", [40, 80, 200])
def test_every_line_fits_the_terminal(report: MaskReport, columns: int) -> None:
    assert max(map(cells, mask_text(report, columns).splitlines())) <= columns
