"""A study on one page that opens without a network."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from xml.dom import minidom

from dasc.study.tables import Table

_STYLE = """\
:root { color-scheme: light dark; --text: #1b1b1b; --faint: #595959; --line: #c8c8c8; --back: #fff; --box: #f4f4f4 }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8e8; --faint: #b0b0b0; --line: #4a4a4a; --back: #161616; --box: #232323 }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word }
h1 { font-size: 1.6rem; line-height: 1.25 } h2 { font-size: 1.2rem; margin-top: 2rem }
figure { margin: 1.5rem 0 }
figure svg { display: block; width: 100%; height: auto; background: #fff }
figcaption, caption { color: var(--faint); font-size: .9rem }
.scroll { overflow-x: auto; margin: 1.5rem 0 }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums }
caption { text-align: left; padding-bottom: .5rem; max-width: calc(100vw - 2rem) }
th, td { padding: .25rem .6rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top }
th { overflow-wrap: normal } tbody th { font-weight: normal }
.number { text-align: right; white-space: nowrap }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .25rem 1rem }
dt { color: var(--faint) } dd { margin: 0; overflow-wrap: anywhere; min-width: 0 }
pre { background: var(--box); padding: .75rem; overflow-x: auto; font-size: .85rem }
.warning { border-left: .25rem solid #d55e00; padding: .25rem .75rem; background: var(--box) }
@media print {
  :root { --text: #000; --faint: #333; --line: #999; --back: #fff; --box: #fff }
  body { max-width: none; padding: 0; font-size: 10pt } .scroll { overflow: visible } pre { white-space: pre-wrap }
  figure, tr { break-inside: avoid } h2 { break-after: avoid }
}
"""


def page(
    title: str,
    figures: Sequence[Path],
    tables: Sequence[Table],
    facts: Mapping[str, str],
    failures: Sequence[tuple[str, str]],
    commands: Sequence[str],
) -> str:
    """A study as one HTML page that refers to nothing outside itself.

    Args:
        title: Of the study.
        figures: SVG files, whose title and description become the caption.
        tables: Under the figures.
        facts: What the study ran on, name to value.
        failures: The label and the error of each run that failed.
        commands: What makes the study again, a line each.
    """
    parts = [f"<h1>{escape(title)}</h1>"]
    if failures:
        count = "1 run" if len(failures) == 1 else f"{len(failures)} runs"
        parts.append(f'<p class="warning">{count} failed and left out: <a href="#failures">which and why</a>.</p>')
    parts += [_figure(path, f"figure{number}-") for number, path in enumerate(figures, 1)]
    parts += _section("results", "Results", "".join(table.html() for table in tables))
    parts += _section(
        "failures", "Failed runs", Table(["run", "error"], failures, left={0, 1}).html() if failures else ""
    )
    parts += _section("facts", "Made with", _facts(facts) if facts else "")
    code = escape("\n".join(commands))
    parts += _section("again", "To make it again", f"<pre><code>{code}</code></pre>" if commands else "")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _section(name: str, heading: str, inner: str) -> list[str]:
    return [f'<section id="{name}">\n<h2>{heading}</h2>\n{inner}\n</section>'] if inner else []


def _facts(facts: Mapping[str, str]) -> str:
    return (
        "<dl>" + "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>" for name, fact in facts.items()) + "</dl>"
    )


def _figure(path: Path, prefix: str) -> str:
    with minidom.parse(str(path)) as document:
        svg = document.documentElement
        if svg is None:
            return ""
        title, description = _text_of(svg, "title") or path.stem, _text_of(svg, "description")
        for metadata in svg.getElementsByTagName("metadata"):
            svg.removeChild(metadata)
        for element in (svg, *svg.getElementsByTagName("*")):
            _prefix_ids(element, prefix)
        svg.setAttribute("role", "img")
        svg.setAttribute("aria-label", " ".join([title, *([description] if description else [])]))
        svg.removeAttribute("width")
        svg.removeAttribute("height")
        caption = f"<figcaption>{escape(description or title)}</figcaption>"
        return f"<figure>\n{svg.toxml()}\n{caption}\n</figure>"


def _text_of(svg: minidom.Element, name: str) -> str:
    """What the figure's metadata say under a name of the Dublin Core."""
    for element in svg.getElementsByTagName(f"dc:{name}"):
        return "".join(child.data for child in element.childNodes if isinstance(child, minidom.Text))
    return ""


def _prefix_ids(element: minidom.Element, prefix: str) -> None:
    """Keep the ids of one figure apart from those of another on the same page."""
    for name, value in list(element.attributes.items()):
        if name == "id":
            element.setAttribute(name, prefix + value)
        elif name in ("href", "xlink:href") and value.startswith("#"):
            element.setAttribute(name, f"#{prefix}{value[1:]}")
        elif "url(#" in value:
            element.setAttribute(name, re.sub(r"url\(#", f"url(#{prefix}", value))
