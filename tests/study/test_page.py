"""The page of a study: whole in itself, well formed, and true to what it is given."""

import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dasc.study.analysis.figures.bars import BarsFigure
from dasc.study.analysis.figures.figure import Drawn
from dasc.study.analysis.report import render_page
from dasc.study.analysis.table import Table
from tests.support.results import results

NO_FAILURES = Table(["run", "error"], [], left={0, 1})

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
    (tmp_path / "one.svg").write_text("<svg>&</svg>")
    figure = Drawn(tmp_path / "one.svg", tmp_path / "one.png", 'Over "<M>"', "Accuracy over M. <One> seed.")
    tables = [Table(["scheme", "n"], [["<ours> & $x$", "3"], ["base", "3"]], "Accuracy", "A is <better>.", left={0})]
    failures = Table(["run", "error"], [("seed 3, <a>", "RuntimeError: x < 1")], left={0, 1})
    facts = {"dasc": "0.1", "device": "<cpu>"}
    return render_page("Decay <M> & prune", [figure], tables, facts, failures, "dasc study run 'a & b.yaml'")


def test_the_page_is_well_formed_and_says_what_it_was_given(whole: str) -> None:
    read = Read(whole)
    assert read.open == []
    assert whole.startswith("<!DOCTYPE html>")
    assert read.all("html")[0]["lang"] == "en"
    assert read.said["title"] == read.said["h1"] == ["Decay <M> & prune"]
    assert read.said["dd"] == ["0.1", "<cpu>"]
    assert read.said["code"] == ["dasc study run 'a & b.yaml'"]
    assert read.said["td"] == ["3", "3", "RuntimeError: x < 1"]
    scopes = [(cell["scope"], text) for cell, text in zip(read.all("th"), read.said["th"], strict=True)]
    assert scopes[:4] == [("col", "scheme"), ("col", "n"), ("row", "<ours> & $x$"), ("row", "base")]
    assert "1 run failed" in read.said["p"][0]
    assert read.said["p"][1] == "A is <better>."
    assert read.said["caption"] == ["Accuracy"]
    labels = [cell["data-label"] for cell in read.all("td")]
    assert labels == ["n", "n", "error"]  # shown before the cells of a narrow page


def test_the_page_refers_to_nothing_outside(whole: str) -> None:
    read = Read(whole)
    links = [value for _, attributes in read.elements for name, value in attributes.items() if name.endswith("href")]
    assert links == ["#failures"]
    assert not {"script", "link", "iframe"} & {tag for tag, _ in read.elements}
    assert not re.findall(r'https?://[^"\s]*', whole)
    assert "@import" not in whole


def test_a_figure_is_part_of_the_page_with_a_label_and_a_caption(whole: str) -> None:
    read = Read(whole)
    (image,) = read.all("img")
    kind, _, content = str(image["src"]).partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert b64decode(content) == b"<svg>&</svg>"
    assert image["alt"] == 'Over "<M>". Accuracy over M. <One> seed.'
    assert read.said["figcaption"] == ["Accuracy over M. <One> seed."]


def test_empty_parts_are_left_out() -> None:
    read = Read(render_page("Title", [], [], {}, NO_FAILURES, ""))
    assert not {"section", "figure", "table", "pre", "dl", "a"} & {tag for tag, _ in read.elements}


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", '"><script>alert(1)</script>', "--><script>alert(1)</script><!--"]
)
def test_markup_in_labels_titles_and_errors_is_escaped(tmp_path: Path, hostile: str) -> None:
    figure = BarsFigure(title=hostile, bars=hostile, groups="net")
    axes = {hostile: [hostile, "b"], "net": ["1", hostile]}
    known = {"part": "study", "seed": 0, "stage": 1, "final": 1, "sparsity_asked": 0.0, "magnitude": hostile}
    rows = [
        known | {"run": bar + net, f"axis_{hostile}": bar, "axis_net": net, "test_accuracy": 0.5, "test_nll": 0.9}
        for bar in axes[hostile]
        for net in axes["net"]
    ]
    frame = results(rows, axes)
    shown = figure.tables(frame, axes, {hostile: hostile})
    failed = Table(["run", "error"], [(hostile, hostile)])
    text = render_page(hostile, [figure.draw(frame, tmp_path / "figure")], shown, {hostile: hostile}, failed, hostile)
    assert "<script" not in text.lower()
    assert "script" not in {tag for tag, _ in Read(text).elements}
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 10
