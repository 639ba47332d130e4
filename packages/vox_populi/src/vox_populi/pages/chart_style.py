"""The style sheet of charts: colours that differ for every sort of sight, dashes beside them."""

from __future__ import annotations

CHART_STYLE = """
:root { --r0: #0072b2; --r1: #c85200; --r2: #00795a; --r3: #a8457f; --r4: #7a6000; --r5: #5b5b5b;
  --r6: #2a3fae; --r7: #9c1f1f; --band: .18; }
@media (prefers-color-scheme: dark) { :root { --r0: #56b4e9; --r1: #ff9a57; --r2: #2fcb9c;
  --r3: #eba6cd; --r4: #f0e442; --r5: #c3c7cc; --r6: #a4b3ff; --r7: #ff9c9c; --band: .28; } }
.r0 { --run: var(--r0); } .r1 { --run: var(--r1); --dash: 7 3; } .r2 { --run: var(--r2);
  --dash: 2 3; } .r3 { --run: var(--r3); --dash: 9 3 2 3; } .r4 { --run: var(--r4); --dash: 4 2; }
.r5 { --run: var(--r5); --dash: 12 4; } .r6 { --run: var(--r6); --dash: 1 4; }
.r7 { --run: var(--r7); --dash: 6 2 1 2 1 2; }
.run { stroke: var(--run); stroke-dasharray: var(--dash, none); stroke-width: 1.8; fill: none;
  stroke-linejoin: round; }
.run.behind { opacity: .35; stroke-width: 1; }
.run.dots { fill: var(--run); stroke: var(--paper); stroke-width: 1; stroke-dasharray: none; }
.band { fill: var(--run); opacity: var(--band); stroke: none; }
.cursor { stroke: var(--ink); stroke-width: 1; opacity: .6; }
.of-y { text-anchor: end; dominant-baseline: middle; } .of-x { text-anchor: middle; }
.of-end { text-anchor: end; }
svg .axis { opacity: .8; }
.plot { touch-action: pan-y; border-radius: .2rem; }
.tip { min-height: 1.4em; margin: .1rem 0 0; font-size: .9rem; max-width: none; }
.sample { display: grid; gap: .2rem 1.2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(14rem, 100%), 1fr)); }
.sample dd { margin: 0; } .sample pre { margin: 0; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: 0; padding: 0;
  list-style: none; }
.legend svg { width: 2rem; height: .8rem; flex: none; }
.legend label { overflow-wrap: anywhere; }
.script-only { display: none; }
.scripted .script-only { display: flex; }
.scripted .controls { max-height: 40vh; overflow: auto; }
.legend input { display: none; } .scripted .legend input { display: inline; }
"""
