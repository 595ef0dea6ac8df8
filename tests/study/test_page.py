"""The page of a study: whole in itself, well formed, and true to what it is given."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dasc.study.figure_spec import FigureSpec
from dasc.study.figures import draw
from dasc.study.page import page
from dasc.study.tables import Table, tables

SVG = """\
<?xml version="1.0" encoding="utf-8" standalone="no"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="504pt" height="300pt" viewBox="0 0 504 300"
     xmlns="http://www.w3.org/2000/svg" version="1.1">
 <metadata><rdf:RDF xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <dc:type rdf:resource="http://purl.org/dc/dcmitype/StillImage"/><dc:title>Over &lt;M&gt;</dc:title>
  <dc:description>Accuracy over M. One seed.</dc:description></rdf:RDF></metadata>
 <defs><clipPath id="p1"><rect width="4" height="4"/></clipPath><path id="m1" d="M 0 0"/></defs>
 <g clip-path="url(#p1)"><use xlink:href="#m1"/><text style="fill: url(#p1)">id="m1" url(#p1) &amp;</text></g>
</svg>
"""

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Read(HTMLParser):
    """The elements of a page, their attributes and text, and whether each is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.said: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.said.setdefault(tag, []).append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.said[self.open[-1]][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def whole(tmp_path: Path) -> str:
    for name in ("one", "two"):
        (tmp_path / f"{name}.svg").write_text(SVG)
    tables = [Table(["scheme", "n"], [["<ours> & $x$", "3"], ["base", "3"]], "Accuracy", left={0})]
    failures = [("seed 3, <a>", "RuntimeError: x < 1")]
    commands = ["dasc study run 'a & b.yaml'", "dasc study report"]
    facts = {"dasc": "0.1", "device": "<cpu>"}
    return page("Decay <M> & prune", [tmp_path / "one.svg", tmp_path / "two.svg"], tables, facts, failures, commands)


def test_the_page_is_well_formed_and_says_what_it_was_given(whole: str) -> None:
    read = Read(whole)
    assert read.open == []
    assert whole.startswith("<!DOCTYPE html>")
    assert read.all("html")[0]["lang"] == "en"
    assert read.said["title"] == read.said["h1"] == ["Decay <M> & prune"]
    assert read.said["dd"] == ["0.1", "<cpu>"]
    assert read.said["code"] == ["dasc study run 'a & b.yaml'\ndasc study report"]
    assert read.said["td"] == ["3", "3", "RuntimeError: x < 1"]
    scopes = [(cell["scope"], text) for cell, text in zip(read.all("th"), read.said["th"], strict=True)]
    assert scopes[:4] == [("col", "scheme"), ("col", "n"), ("row", "<ours> & $x$"), ("row", "base")]
    assert "1 run failed" in read.said["p"][0]


def test_the_page_refers_to_nothing_outside(whole: str) -> None:
    read = Read(whole)
    links = [value for _, attributes in read.elements for name, value in attributes.items() if name.endswith("href")]
    assert len(links) == 3
    assert all(str(link).startswith("#") for link in links)
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in read.elements}
    assert set(re.findall(r'https?://[^"\s]*', whole)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }  # names of vocabularies, which nobody fetches
    assert "@import" not in whole
    assert "<?xml" not in whole
    assert whole.count("<!DOCTYPE") == 1


def test_ids_of_two_figures_do_not_meet(whole: str) -> None:
    read = Read(whole)
    ids = Counter(attributes["id"] for _, attributes in read.elements if "id" in attributes)
    assert set(ids.values()) == {1}
    targets = re.findall(r'href="#([^"]+)"|clip-path="url\(#([^)]+)\)|style="fill: url\(#([^)]+)\)', whole)
    found = ["".join(target) for target in targets]
    assert len(found) == 7  # two figures with three each, and the link to the failures
    assert set(found) <= set(ids)
    assert read.said["text"] == ['id="m1" url(#p1) &'] * 2  # what is text stays as it is


def test_a_figure_has_a_label_and_a_caption_and_scales(whole: str) -> None:
    read = Read(whole)
    for svg in read.all("svg"):
        assert svg["role"] == "img"
        assert svg["aria-label"] == "Over <M> Accuracy over M. One seed."
        assert svg["viewbox"] == "0 0 504 300"
        assert "width" not in svg
    assert read.said["figcaption"] == ["Accuracy over M. One seed."] * 2


def test_empty_parts_are_left_out() -> None:
    read = Read(page("Title", [], [], {}, [], []))
    assert not {"section", "figure", "table", "pre", "dl", "a"} & {tag for tag, _ in read.elements}


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", '"><script>alert(1)</script>', "--><script>alert(1)</script><!--"]
)
def test_markup_in_labels_titles_and_errors_is_escaped(tmp_path: Path, hostile: str) -> None:
    spec = FigureSpec(kind="bars", title=hostile, bars=hostile, groups="net")
    axes = {hostile: [hostile, "b"], "net": ["1", hostile]}
    known = {"part": "study", "seed": 0, "stage": 1, "final": 1, "sparsity_asked": 0.0, "magnitude": hostile}
    rows = [
        known | {"run": bar + net, f"axis_{hostile}": bar, "axis_net": net, "test_accuracy": 0.5, "test_nll": 0.9}
        for bar in axes[hostile]
        for net in axes["net"]
    ]
    svg, _ = draw(spec, rows, axes, tmp_path / "figure")
    shown = tables(spec, rows, axes, {hostile: hostile})
    text = page(hostile, [svg], shown, {hostile: hostile}, [(hostile, hostile)], [hostile])
    assert "<script" not in text.lower()
    assert "script" not in {tag for tag, _ in Read(text).elements}
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 10
