"""Makes the SVG of a chart small and safe enough to stand inside a page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from xml.etree import ElementTree

_TAGS = frozenset({"g", "path", "line", "rect", "circle", "text"})
_ATTRIBUTES = (
    *("transform", "d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height"),
    *("fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "opacity", "text-anchor"),
)
_DEFAULTS = {
    ("opacity", "1"),
    ("transform", "translate(0,0)"),
    ("stroke-width", "1"),
    ("text-anchor", "start"),
    ("stroke-dasharray", ""),
}
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?|-?\d+e-\d+")
_ROUNDED = frozenset({"transform", "d", "x", "y", "x1", "x2", "y1", "y2", "width", "height"})


def compact(svg: str, label: str, full: Mapping[str, str] | None = None) -> str:
    """Rebuild an SVG from the few elements and attributes that a chart needs.

    Fonts and sizes are left to the style sheet, coordinates are rounded to a tenth of a pixel,
    and whatever is not a known drawing element is dropped.

    Args:
        svg: SVG text as Vega writes it.
        label: What the chart shows, in words, for readers who do not see it.
        full: Shortened text to whole text; the whole text is shown on hovering.

    Returns:
        An `<svg>` element for inline use in HTML.

    Raises:
        xml.etree.ElementTree.ParseError: When `svg` is not XML.

    Example:
        >>> compact('<svg width="9" height="9"><script/><path d="M0.123,1" font-size="3"/></svg>', "a & b")
        '<svg class="al-svg" role="img" aria-label="a &amp; b" viewBox="0 0 9 9" width="9" height="9"><path d="M0.1,1"/></svg>'
    """
    root = ElementTree.fromstring(svg)
    width, height = (round(float(root.get(key, "0"))) for key in ("width", "height"))
    inside = "".join(_element(child, full or {}) for child in root)
    return (
        f'<svg class="al-svg" role="img" aria-label="{escape(label)}" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">{inside}</svg>'
    )


def _element(node: ElementTree.Element, full: Mapping[str, str]) -> str:
    tag = node.tag.rpartition("}")[2]
    if tag not in _TAGS or node.get("display") == "none" or node.get("class") == "background":
        return ""
    written = "".join(
        f' {key}="{escape(_rounded(key, node.attrib[key]))}"'
        for key in _ATTRIBUTES
        if key in node.attrib and (key, node.attrib[key]) not in _DEFAULTS
    )
    inside = "".join(_element(child, full) for child in node)
    if tag == "g":
        return f"<g{written}>{inside}</g>" if inside and written else inside
    if tag == "text":
        words = node.text or ""
        inside = escape(words, quote=False) + (_title(full[words]) if words in full else "")
        return f"<text{written}>{inside}</text>" if words else ""
    if node.get("aria-label") and node.get("role") == "graphics-symbol":
        inside = _title(node.attrib["aria-label"])
    if tag == "path" and not node.get("d"):
        return ""
    return f"<{tag}{written}>{inside}</{tag}>" if inside else f"<{tag}{written}/>"


def _title(text: str) -> str:
    return f"<title>{escape(text, quote=False)}</title>"


def _rounded(key: str, value: str) -> str:
    return _NUMBER.sub(lambda match: f"{float(match[0]):.1f}".removesuffix(".0"), value) if key in _ROUNDED else value
