"""How a report looks: one style sheet, light or dark as the reader's system is, and on paper."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #f7f7f5; --card: #ffffff; --ink: #1d1e22; --soft: #676a73; --line: #e3e3e0; --track: #ecece9; --accent: #2c6bd6;
  --met: #1e8a4f; --least: #b27a12; --short: #c43d33;
  --s0: #2c6bd6; --s1: #9bbcf2; --s2: #d9762b; --s3: #f0bd92; --s4: #2f9e8f; --s5: #8a63c9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #131417; --card: #1c1d22; --ink: #ececef; --soft: #a0a3ad; --line: #30323a; --track: #2a2c33; --accent: #7fabff;
    --met: #4cc585; --least: #e0ac4a; --short: #f07a6e;
    --s0: #6c9dfa; --s1: #3c5a92; --s2: #f0954d; --s3: #8c5c35; --s4: #4dc4b3; --s5: #b493ee;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.02em; }
h2 { font-size: 21px; margin: 52px 0 4px; letter-spacing: -0.01em; }
h3 { font-size: 14px; margin: 0 0 8px; }
p { margin: 4px 0 14px; max-width: 76ch; }
.soft, .about { color: var(--soft); }
nav { display: flex; flex-wrap: wrap; gap: 8px; margin: 18px 0 0; }
nav a {
  color: var(--accent); text-decoration: none; border: 1px solid var(--line); background: var(--card); border-radius: 99px;
  padding: 3px 13px; font-size: 13px;
}
nav a:hover { border-color: var(--accent); }
pre {
  background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; margin: 14px 0; overflow-x: auto;
  font: 13px/1.45 ui-monospace, Menlo, Consolas, monospace;
}
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px; margin: 14px 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 22px 0 6px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px 16px; }
.tile b { display: block; font-size: 30px; line-height: 1.15; font-weight: 650; font-variant-numeric: tabular-nums; }
.tile.met b { color: var(--met); } .tile.least b { color: var(--least); } .tile.short b { color: var(--short); } .tile.none b { color: var(--soft); }
.tile span { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; color: var(--soft); font-weight: 500; font-size: 12.5px; white-space: nowrap; }
th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
th.n, td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.main { font-weight: 600; }
.pill {
  display: inline-block; border-radius: 99px; padding: 0 10px; border: 1px solid currentColor; font-size: 12.5px; font-weight: 600;
  white-space: nowrap;
}
.pill.met { color: var(--met); } .pill.least { color: var(--least); } .pill.short { color: var(--short); }
.pill.none { color: var(--soft); font-weight: 400; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(440px, 100%), 1fr)); gap: 14px; align-items: start; }
figure { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px; margin: 0; }
figcaption { font-weight: 600; font-size: 14px; margin-bottom: 12px; }
.legend { display: flex; flex-wrap: wrap; gap: 3px 16px; font-weight: 400; font-size: 12.5px; color: var(--soft); margin-top: 4px; }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 6px; }
svg { width: 100%; height: auto; display: block; font-family: inherit; }
svg.bullet { width: 180px; height: 16px; }
text { fill: var(--ink); font-size: 12px; } text.value { fill: var(--soft); font-size: 11px; } text.over { fill: var(--card); font-weight: 600; }
line.grid { stroke: var(--line); } line.axis { stroke: var(--soft); } line.mark { stroke: var(--ink); stroke-dasharray: 3 3; }
.track { fill: var(--track); } .cell { fill: var(--track); opacity: .55; } .hot { fill: var(--s0); }
rect.met { fill: var(--met); } rect.least { fill: var(--least); } rect.short { fill: var(--short); }
line.least { stroke: var(--soft); stroke-width: 1.5; } line.aim { stroke: var(--ink); stroke-width: 2; }
.s0 { fill: var(--s0); background: var(--s0); } .s1 { fill: var(--s1); background: var(--s1); } .s2 { fill: var(--s2); background: var(--s2); }
.s3 { fill: var(--s3); background: var(--s3); } .s4 { fill: var(--s4); background: var(--s4); } .s5 { fill: var(--s5); background: var(--s5); }
details { margin: 14px 0; } details > summary { cursor: pointer; font-weight: 600; font-size: 14px; }
details.card > summary + * { margin-top: 10px; }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(330px, 100%), 1fr)); gap: 14px; margin-top: 14px; }
.sample { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 14px 16px; font-size: 14px; }
.sample.wide { grid-column: 1 / -1; } .sample figure { border: 0; padding: 0; margin-top: 10px; }
.sample header { display: flex; justify-content: space-between; gap: 10px; color: var(--soft); font-size: 12.5px; margin-bottom: 8px; }
.sample img { width: 112px; height: 112px; border-radius: 8px; border: 1px solid var(--line); float: right; margin: 0 0 8px 12px; }
.sample dl { margin: 0; display: grid; grid-template-columns: max-content 1fr; gap: 2px 10px; }
.sample img ~ dl { display: block; } .sample img ~ dl dt { float: left; margin-right: 8px; } .sample img ~ dl dd { margin-bottom: 4px; }
.sample dt { color: var(--soft); } .sample dd { margin: 0; }
.sample .audio {
  clear: both; display: grid; grid-template-columns: max-content 1fr; gap: 6px 10px; align-items: center; margin-top: 10px;
  font-size: 12.5px; color: var(--soft);
}
audio { width: 100%; height: 34px; }
footer { margin-top: 60px; color: var(--soft); font-size: 13px; }
@media print { nav, audio { display: none; } main { max-width: none; padding: 0; } .card, figure, .sample { break-inside: avoid; } }
""".strip()
