"""The style sheet of reports: one string, so that a page stands alone and a server can serve it as a file.

Every rule is scoped to the class ``al``; every colour is a variable, so that charts follow
light, dark and print without being drawn again. Reference is blue and production orange,
which stay apart in all common forms of colour blindness.
"""

from __future__ import annotations

_LIGHT = """
--al-paper:#fff;--al-panel:#f6f7f9;--al-ink:#1a1f26;--al-soft:#55606c;--al-rule:#dfe3e8;--al-grid:#e4e8ec;
--al-focus:#1d5fbf;--al-link:#1f5aa6;--al-zone:#dcebe3;--al-edge:#4d8a6c;
--al-c-alarm:#b42318;--al-c-undecided:#8a5200;--al-c-ok:#17684a;
--al-b-alarm:#fdf1ef;--al-b-undecided:#fdf6e9;--al-b-ok:#eff8f3;
--al-s1:#3a74b4;--al-s2:#d2691e;--al-s3:#2b8c7e;--al-s4:#8757a8;--al-s5:#7a7f87;--al-s6:#a3485c;
color-scheme:light;
"""

_DARK = """
--al-paper:#14181d;--al-panel:#1b2027;--al-ink:#e6e9ed;--al-soft:#a3adb8;--al-rule:#2e353e;--al-grid:#2b323a;
--al-focus:#8ab8f5;--al-link:#8ab8f5;--al-zone:#21382e;--al-edge:#6fae8f;
--al-c-alarm:#ff9a8d;--al-c-undecided:#eebb5c;--al-c-ok:#76cfa2;
--al-b-alarm:#2c1c1b;--al-b-undecided:#292215;--al-b-ok:#17251e;
--al-s1:#79b0ea;--al-s2:#f0a05a;--al-s3:#63c2b2;--al-s4:#c39be0;--al-s5:#a9b0b8;--al-s6:#e08a9c;
color-scheme:dark;
"""

_RULES = """
.al,.al *{box-sizing:border-box}
.al{background:var(--al-paper);color:var(--al-ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",
"Liberation Sans",Arial,sans-serif;text-align:left;overflow-wrap:anywhere;font-variant-numeric:tabular-nums;
max-width:1120px;margin:0 auto;padding:28px 28px 56px;-webkit-text-size-adjust:100%}
.al-notebook{padding:12px 16px 16px;border:1px solid var(--al-rule);border-radius:8px;margin:0}
.al-page{margin:0;background:#fff}
.al h1,.al h2,.al h3,.al h4,.al p,.al ul,.al ol,.al figure,.al dl,.al dd{margin:0;padding:0;background:none;border:0}
.al ul,.al ol{list-style:none}
.al h1,.al h2,.al h3,.al h4{color:inherit;line-height:1.25;font-weight:650;letter-spacing:-.006em}
.al h2{font-size:19px;margin:38px 0 4px}
.al a{color:var(--al-link)}
.al bdi,.al .al-say{unicode-bidi:isolate}
.al :focus-visible{outline:3px solid var(--al-focus);outline-offset:2px;border-radius:3px}
.al-lead{color:var(--al-soft)}
.al .al-lead{margin-bottom:14px}
.al-alarm{--c:var(--al-c-alarm);--b:var(--al-b-alarm)}
.al-undecided{--c:var(--al-c-undecided);--b:var(--al-b-undecided)}
.al-ok{--c:var(--al-c-ok);--b:var(--al-b-ok)}
.al-icon{width:1em;height:1em;fill:var(--c);flex:none;vertical-align:-.12em}
.al-icon .al-cut{fill:var(--al-paper)}
.al-badge{color:var(--c);font-weight:650;white-space:nowrap}
.al-badge .al-icon{margin-right:.42em}
.al-top{background:var(--b);border:1px solid var(--al-rule);border-left:6px solid var(--c);border-radius:8px;padding:20px 24px 18px}
.al-top .al-cut{fill:var(--b)}
.al h1{font-size:34px;display:flex;flex-direction:column;gap:2px}
.al-kicker{font-size:14px;font-weight:500;color:var(--al-soft);letter-spacing:0}
.al .al-headline{font-size:18.5px;line-height:1.45;margin-top:8px;max-width:80ch}
.al-tally{display:flex;flex-wrap:wrap;gap:4px 22px;color:var(--al-soft);font-size:14px}
.al-top .al-tally{margin-top:12px}
.al-card{border:1px solid var(--al-rule);border-left:4px solid var(--c);border-radius:6px;padding:14px 18px;margin-top:10px;
display:grid;grid-template-columns:minmax(0,1fr) 300px;gap:6px 28px;align-items:start;background:var(--al-paper)}
.al-card h3{font-size:16px;display:flex;flex-wrap:wrap;gap:2px 12px;align-items:baseline}
.al-name{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono","DejaVu Sans Mono",monospace;font-size:.93em}
.al-about{color:var(--al-soft);font-weight:400;font-size:14px}
.al .al-say{margin-top:5px;max-width:78ch}
.al .al-do{margin-top:7px;max-width:78ch}
.al-do b{color:var(--c);font-weight:650}
.al-effect{font-size:14px}
.al-effect>b{font-weight:650;display:block}
.al-effect .al-ruler{margin-top:8px}
.al-ruler,.al-svg{display:block;max-width:100%;height:auto;overflow:visible}
.al-ruler text,.al-svg text{font:11px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",Arial,sans-serif;fill:var(--al-soft);
unicode-bidi:isolate}
.al-zone{fill:var(--al-zone)}
.al-base{stroke:var(--al-rule)}
.al-zero{stroke:var(--al-soft);stroke-opacity:.55}
.al-edge{stroke:var(--al-edge);stroke-width:1.5;stroke-dasharray:3 2}
.al-range{stroke:var(--c);stroke-width:3}
.al-dot{fill:var(--c);stroke:var(--al-paper);stroke-width:1.5}
.al details>summary{cursor:pointer}
.al-check+.al-check{border-top:1px solid var(--al-rule)}
.al-check:last-of-type{border-bottom:1px solid var(--al-rule)}
.al-check>summary{padding:11px 2px;display:flex;flex-wrap:wrap;gap:2px 18px;align-items:baseline;list-style:none}
.al-check>summary::-webkit-details-marker{display:none}
.al-check>summary::before{content:"";width:.42em;height:.42em;border:solid var(--al-soft);border-width:0 2px 2px 0;
transform:rotate(-45deg) translateY(-.15em);flex:none;margin-right:-6px}
.al-check[open]>summary::before{transform:rotate(45deg) translate(-.1em,-.2em)}
.al-check h3{font-size:16px}
.al-check .al-tally{gap:2px 14px}
.al table{border-collapse:collapse;width:100%;font-size:14px;margin:0;color:inherit;border:0;table-layout:auto}
.al th,.al td{padding:5px 14px 5px 0;text-align:left;vertical-align:top;font-weight:400;background:none;border:0;white-space:normal;max-width:none}
.al tr{background:none!important}
.al thead th{color:var(--al-soft);font-size:12.5px;border-bottom:1px solid var(--al-rule);vertical-align:bottom}
.al-scroll{overflow-x:auto;max-width:100%}
.al-check>.al-scroll{margin-bottom:14px}
.al-list.al-list{table-layout:fixed}
.al-c1{width:126px}.al-c3{width:31%}.al-c4{width:120px}.al-c5{width:146px}
.al-list tr>:last-child{padding-right:0}
.al-list .al-row>*{padding-top:7px;padding-bottom:0;line-height:1.4}
.al-list .al-more>td{padding:0 0 5px;border-bottom:1px solid var(--al-rule)}
.al-list tbody:last-child .al-more>td{border-bottom:0}
.al-row th[scope=row]{font-weight:600}
.al-list .al-ruler{margin-top:3px}
.al-sub{display:block;color:var(--al-soft);font-weight:400;font-size:13px}
.al-more summary{color:var(--al-soft);padding:2px 0}
.al-more summary:hover,.al-check>summary:hover h3{text-decoration:underline;text-underline-offset:3px;text-decoration-thickness:1px}
.al-more details[open]>summary{color:var(--al-ink)}
.al-inside{display:grid;grid-template-columns:minmax(0,5fr) minmax(0,6fr);gap:14px 32px;background:var(--al-panel);border-radius:6px;
padding:12px 18px 14px;margin:6px 0 6px}
.al-inside:has(.al-grid th:nth-child(6)){grid-template-columns:minmax(0,1fr)}
.al .al-facts{align-self:start}
.al-facts th{width:9.5em;color:var(--al-soft);font-weight:400}
.al-facts th,.al-facts td{padding-top:2.5px;padding-bottom:2.5px}
.al-figure figcaption{font-size:13.5px;display:flex;flex-wrap:wrap;gap:2px 18px;margin-bottom:8px;color:var(--al-ink)}
.al-legend{display:inline-flex;flex-wrap:wrap;gap:2px 14px;color:var(--al-soft)}
.al-key{display:inline-flex;gap:5px;align-items:center}
.al-cutoff{color:var(--al-soft)}
.al-grid th,.al-grid td{border-bottom:1px solid var(--al-rule);min-width:5em;max-width:28em}
.al-lanes th,.al-lanes td{padding:0 14px 0 0;vertical-align:middle;white-space:nowrap;line-height:20px;font-size:13px}
.al-lanes th{max-width:205px;white-space:normal;line-height:16px;padding-top:2px;padding-bottom:2px}
.al-lanes td{color:var(--al-soft)}
.al-lanes tr.al-alarm>td{color:var(--c);font-weight:600}
.al-lanes td:last-child{padding-right:1px;width:1px}
.al-lane,.al-axis{display:block;overflow:visible}
.al-lane path{vector-effect:non-scaling-stroke}
.al-axis text{font:11px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",Arial,sans-serif;fill:var(--al-soft)}
.al-ends,.al-when{display:none}
.al-lane-ok{fill:var(--al-c-ok);fill-opacity:.55}
.al-lane-undecided{fill:var(--al-c-undecided);fill-opacity:.75}
.al-lane-alarm{fill:var(--al-c-alarm)}
.al-lane-tick{stroke:var(--al-rule);fill:none}
.al-lane-episode{stroke:var(--al-ink);stroke-width:1.3;fill:none;pointer-events:all}
.al .al-budget{color:var(--al-soft);font-size:13.5px;margin-top:8px;max-width:100ch}
.al-plain{max-width:860px}
.al-plain th{color:var(--al-soft)}
.al-plain>table>tbody>tr>th{width:13em}
.al-notes li{padding:2px 0 2px 16px;position:relative;max-width:86ch}
.al-notes li::before{content:"";position:absolute;left:2px;top:.82em;width:5px;height:5px;border-radius:50%;background:var(--al-soft)}
.al-foot{color:var(--al-soft);font-size:13px;border-top:1px solid var(--al-rule)}
.al .al-foot{margin-top:36px;padding-top:10px}
.al-hide{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
@media screen and (max-width:760px){
.al{padding:16px 14px 40px}
.al-top{padding:16px 16px 14px}
.al h1{font-size:28px}
.al .al-headline{font-size:17px}
.al-card{grid-template-columns:minmax(0,1fr);padding:12px 14px}
.al-inside{grid-template-columns:minmax(0,1fr);padding:10px 12px}
.al-list .al-wide{display:none}
.al-c1{width:100px}.al-c3{width:42%}.al-c4,.al-c5{width:1px}
.al-list .al-badge{font-size:13px}
.al th,.al td{padding-right:10px}
.al-plain>table>tbody>tr>th{width:7em}
.al-facts th{width:7.5em}
.al-lanes table{table-layout:fixed}
.al-lanes th{max-width:none}
.al-l1{width:46%}
.al-l2,.al-lanes td:nth-child(2),.al-axis{display:none}
.al-lanes td:last-child{width:auto}
.al-lanes .al-lane{width:100%}
.al-ends{display:flex;justify-content:space-between;font-size:11px;line-height:18px}
.al-when{display:block;color:var(--al-soft);font-weight:400;font-size:12px;line-height:14px;padding-bottom:3px}
.al-alarm .al-when{color:var(--c)}
}
"""

_PRINT = """
@page{margin:14mm}
@media print{
.al{max-width:none;padding:0;font-size:10.5pt;margin:0}
.al details::details-content{content-visibility:visible;display:block;height:auto}
.al details>:not(summary){display:block!important}
.al details>.al-inside{display:grid!important}
.al-check>summary::before{display:none}
.al-card,.al-top,.al-row,.al-figure{break-inside:avoid}
.al-check>summary,.al h2,.al h3,.al-row{break-after:avoid}
.al-card{grid-template-columns:minmax(0,1fr) 240px;padding:8px 12px}
.al-inside{grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:8px 18px;padding:8px 12px;break-inside:avoid}
.al-facts th{width:7em}
.al table{font-size:9pt}
.al-scroll{overflow:visible}
.al-lanes table{table-layout:fixed}
.al-lanes th{max-width:none}
.al-l1{width:25%}.al-l2{width:27%}
.al-lanes td:nth-child(2){white-space:normal;line-height:14px}
.al-lanes td:last-child{width:auto}
.al-lanes .al-lane{width:100%}
.al-axis{display:none}
.al-ends{display:flex;justify-content:space-between;font-size:8pt}
.al-lanes tr{break-inside:avoid}
.al-figure:has(.al-lanes){break-inside:auto}
.al{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
"""


def _minified(css: str) -> str:
    return css.replace("\n", "").strip()


STYLE = _minified(
    f".al{{{_LIGHT}}}"
    f"{_RULES}"
    f"@media screen and (prefers-color-scheme:dark){{.al{{{_DARK}}}.al-page{{background:#14181d}}}}"
    # A notebook has a theme of its own, whatever the system prefers.
    f'@media screen{{[data-jp-theme-light="true"] .al,.vscode-light .al{{{_LIGHT}}}'
    f'[data-jp-theme-light="false"] .al,.vscode-dark .al{{{_DARK}}}}}'
    f"{_PRINT}"
)
"""The style sheet, for a `<style>` element or a file."""
