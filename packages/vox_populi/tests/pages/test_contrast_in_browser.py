"""Every text of a page can be read: its contrast, as a browser draws it, light and dark.

The formula is that of WCAG 2.2 (relative luminance, contrast ratio); 4.5 is its level AA.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from packages.vox_populi.tests.headless_browser import CHROMIUM, browser_page
from packages.vox_populi.tests.run_folders import steps, write_run
from vox_populi.data.mask_gates import MaskGates
from vox_populi.pipeline.corpus_check import CorpusCheckRequest, CorpusGates, check_corpus
from vox_populi.pipeline.preview import PreviewRequest
from vox_populi.pipeline.preview_check import MaskCheckRequest, check_masks
from vox_populi.pipeline.report import ReportRequest, report_runs

LEVEL_AA = 4.5
LOWEST = """(() => {
  const channels = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const linear = value =>
    (value /= 255) <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const found = channels(getComputedStyle(node).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return matchMedia('(prefers-color-scheme: dark)').matches ? [0, 0, 0] : [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = {};
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !node.getClientRects().length) continue;
    const style = getComputedStyle(node);
    const ink = channels(node.closest('svg') ? style.fill : style.color);
    const [a, b] = [ink, behind(node)].map(light);
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const name = node.tagName.toLowerCase() + (node.className.baseVal ?? node.className);
    seen[name] = Math.min(seen[name] ?? 21, ratio);
  }
  return JSON.stringify(seen);
})()"""


@pytest.fixture
def pages(tmp_path: Path) -> list[Path]:
    """One page of each kind, each with something that is missed."""
    rows = [{"prompt": "Say hi.", "response": f"hi <|im_end|> {word}"} for word in ("a", "a", "b")]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    corpus, masks, runs = (tmp_path / f"{name}.html" for name in ("corpus", "masks", "runs"))
    gates = CorpusGates(max_duplicates=0.1)
    check_corpus(CorpusCheckRequest(files=(data,), gates=gates, html=corpus))
    asked = PreviewRequest(data=data, seq_len=24)
    check_masks(MaskCheckRequest(rows=asked, gates=MaskGates(), html=masks))
    found = tuple(write_run(tmp_path / name, *steps([3.0, 2.0])) for name in ("first", "second"))
    report_runs(ReportRequest(runs=found, html=runs))
    return [corpus, masks, runs]


@pytest.mark.any_install
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_every_text_of_every_page_can_be_read(pages: list[Path], tmp_path: Path) -> None:
    with browser_page(tmp_path / "profile") as page:
        for file in pages:
            for dark in (False, True):
                page.open(file.as_uri(), dark=dark)
                seen: dict[str, float] = json.loads(page.evaluate(LOWEST))
                assert len(seen) > 5
                low = {name: ratio for name, ratio in seen.items() if ratio < LEVEL_AA}
                assert not low, (file.name, dark, low)
