"""The style sheet of every page: light and dark, narrow and wide, on a screen and on paper."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --faint: #565e68; --line: #d3d8de;
  --card: #f5f7f9; --learned: #cdeed5; --learned-ink: #0b3a1b; --learned-line: #1a7f37;
  --control: #dfe6f5; --control-ink: #1b3a74; --spelled: #ffe3b8; --spelled-ink: #5c3800;
  --bad: #b3261e; --good: #17692f; --bar: #2f6fbd; --bar-too-long: #b3591e; --focus: #0a58ca; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171b; --ink: #e4e8ec; --faint: #a3acb6; --line: #363c44; --card: #1d2126;
    --learned: #17432a; --learned-ink: #d3f7de; --learned-line: #4cc26f; --control: #25355a;
    --control-ink: #d0defc; --spelled: #553a0c; --spelled-ink: #ffe2b0; --bad: #ff8f85;
    --good: #6fd58c; --bar: #6aa5ee; --bar-too-long: #e0965c; --focus: #8ab8ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .5rem 0; max-width: 65ch; }
.faint { color: var(--faint); }
a { color: var(--focus); }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .7rem; text-align: right;
  vertical-align: top; }
th { font-weight: 600; }
th:first-child, td:first-child { text-align: left; padding-left: 0; overflow-wrap: anywhere;
  min-width: 9rem; }
tbody th { font-weight: 400; }
td { white-space: nowrap; }
.words td, .words th { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.nowrap { white-space: nowrap; }
.ok { color: var(--good); font-weight: 600; }
.missed { color: var(--bad); font-weight: 600; }
.controls { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap;
  gap: .5rem 1.25rem; padding: .6rem 0; background: var(--paper);
  border-bottom: 1px solid var(--line); }
label { display: inline-flex; align-items: center; gap: .4rem; }
select, input { font: inherit; accent-color: var(--focus); }
select { max-width: 60vw; }
.row { margin: 1rem 0; padding: .7rem .9rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .4rem; scroll-margin-top: 5rem; }
.row header { display: flex; flex-wrap: wrap; gap: .2rem .9rem; align-items: baseline; }
.tag { padding: 0 .5rem; border: 1px solid currentColor; border-radius: 1rem; font-size: .85rem;
  color: var(--bad); }
.tag.known { color: var(--faint); }
pre { margin: .6rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere; tab-size: 4;
  font: .9rem/1.6 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
i { font-style: normal; }
mark { background: var(--learned); color: var(--learned-ink);
  border-bottom: 2px solid var(--learned-line); }
b { padding: 0 .15em; border-radius: .2em; font-weight: 600; background: var(--control);
  color: var(--control-ink); }
mark b { box-shadow: inset 0 0 0 1px var(--learned-line); }
u { text-decoration: underline wavy; background: var(--spelled); color: var(--spelled-ink); }
em { padding: 0 .4em; color: var(--faint); border: 1px dashed var(--faint); font-style: normal; }
body:has(#borders:checked) i { box-shadow: -1px 0 0 var(--faint); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr));
  gap: 1.5rem; }
figure { margin: 0; }
figcaption { font-weight: 600; margin-bottom: .3rem; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--faint); font: 11px system-ui, sans-serif; }
svg .bar { fill: var(--bar); }
svg .too-long { fill: var(--bar-too-long); }
svg .axis { stroke: var(--line); stroke-width: 1; }
details { margin: .5rem 0; }
summary { cursor: pointer; }
@media (max-width: 34rem) { body { padding: .6rem; } th, td { padding: .3rem .5rem; }
  .controls { position: static; } .row { padding: .6rem; } svg text { font-size: 15px; }
  .stack, .stack tbody, .stack tr, .stack th, .stack td { display: block; border: 0; padding: 0; }
  .stack thead { display: none; }
  .stack tr { padding: .5rem 0; border-bottom: 1px solid var(--line); } }
@media print { :root { --paper: #fff; --ink: #000; --card: #fff; } .controls { display: none; }
  body { max-width: none; font-size: 10pt; } .row { break-inside: avoid-page; }
  mark, b, u, .bar, .too-long { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
