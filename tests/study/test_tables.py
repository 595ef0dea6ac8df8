"""The tables of a study, cell by cell."""

from typing import Any

import pytest

from dasc.study.figure_spec import FigureSpec
from dasc.study.tables import Table, markdown, tables

AXES = {"net": ["small", "large"], "scheme": ["base", "ours"]}
ACCURACY = {
    ("small", "base"): (0.60, 0.62, 0.64),
    ("small", "ours"): (0.65, 0.66, 0.69),
    ("large", "base"): (0.70, 0.74),
    ("large", "ours"): (0.71, 0.74, 0.70),
}


def row(seed: int, net: str, scheme: str, accuracy: float | None, **more: Any) -> dict[str, Any]:
    known = {"part": "study", "run": f"{net}{scheme}{seed}", "seed": seed, "axis_net": net, "axis_scheme": scheme}
    stage = {"stage": 1, "final": 1, "sparsity_asked": 0.5, "magnitude": "4"}
    measured = {"test_accuracy": accuracy, "val_accuracy_last": None if accuracy is None else accuracy + 0.01}
    return known | stage | measured | {"test_nll": accuracy} | more


ROWS = [row(seed, *labels, value) for labels, values in ACCURACY.items() for seed, value in enumerate(values)]


def cells(table: Table, column: str) -> list[str]:
    return [line[list(table.header).index(column)] for line in table.rows]


def test_each_combination_has_its_mean_and_its_difference_to_the_baseline() -> None:
    (table,) = tables(None, ROWS, AXES, {"scheme": "base"})
    assert [tuple(line[:2]) for line in table.rows] == list(ACCURACY)
    assert cells(table, "n") == ["3", "3", "2", "3"]
    assert cells(table, "test (%)") == ["62.00 ± 2.00", "66.67 ± 2.08", "72.00 ± 2.83", "71.67 ± 2.08"]
    assert cells(table, "val. (%)") == ["63.00 ± 2.00", "67.67 ± 2.08", "73.00 ± 2.83", "72.67 ± 2.08"]
    # over the two seeds of both: (0.01 + 0.00) / 2
    assert cells(table, "diff.") == ["-", "+4.67", "-", "+0.50"]
    # 4.6667 ± 4.3026527 / 3, its standard error being 0.577 / sqrt 3 = 1 / 3; 0.5 ± 12.7062047 / 2
    assert cells(table, "95 % CI") == ["-", "+3.23 to +6.10", "-", "-5.85 to +6.85"]
    # t = 4.667 / (0.577 / sqrt 3) = 14 with 2 degrees of freedom
    assert cells(table, "p") == ["-", "0.005", "-", "-"]
    assert cells(table, "remark") == [
        "baseline",
        "interval excludes 0 (not corrected)",
        "baseline",
        "paired over 2 of 3 seeds; fewer than 3 common seeds: not tested",
    ]
    assert list(table.header) == ["net", "scheme", "n", "test (%)", "val. (%)", "diff.", "95 % CI", "p", "remark"]


@pytest.mark.parametrize(
    ("ours", "interval", "p", "remark"),
    [
        # variance 0.7: 0.2 ± 2.7764451 * sqrt(0.7 / 5), and 1.8 ± the same
        ((1, 0, -1, 0, 1), "-0.84 to +1.24", "0.621", "interval contains 0"),
        ((1, 2, 3, 2, 1), "+0.76 to +2.84", "0.009", "interval excludes 0 (not corrected)"),
        ((-1, -2, -3, -2, -1), "-2.84 to -0.76", "0.009", "interval excludes 0 (not corrected)"),
        ((1, 2, 3), "-0.48 to +4.48", "0.074", "interval contains 0"),
        ((1, 2, 3, None, None), "-0.48 to +4.48", "0.074", "interval contains 0"),
        ((2, 2, 2, 2, 2), "-", "-", "equal differences in all common seeds: not tested"),
        ((0, 0, 0, 0, 0), "-", "-", "equal differences in all common seeds: not tested"),
        ((1, 2), "-4.85 to +7.85", "-", "fewer than 3 common seeds: not tested"),
        ((1, 1), "-", "-", "fewer than 3 common seeds, equal differences in all common seeds: not tested"),
        ((1,), "-", "-", "one seed: nothing is claimed"),
    ],
)
def test_a_comparison_always_has_a_remark(ours: tuple[int | None, ...], interval: str, p: str, remark: str) -> None:
    base = [0.60, 0.64, 0.58, 0.61, 0.63]
    rows = [row(seed, "small", "base", value) for seed, value in enumerate(base)]
    rows += [row(s, "small", "ours", None if d is None else base[s] + d / 100) for s, d in enumerate(ours)]
    (table,) = tables(None, rows, AXES, {"scheme": "base"})
    assert cells(table, "95 % CI")[1] == interval
    assert cells(table, "p")[1] == p
    assert cells(table, "remark")[1] == remark


@pytest.mark.parametrize(
    ("common", "remark"),
    [
        (3, "paired over 3 of 5 seeds; interval excludes 0 (not corrected)"),  # 3 ± 4.3026527 / sqrt 3
        (2, "paired over 2 of 5 seeds; fewer than 3 common seeds: not tested"),
        (1, "one common seed: nothing is claimed"),
        (0, "no seed in common with the baseline"),
    ],
)
def test_seeds_without_a_pair_are_remarked(common: int, remark: str) -> None:
    rows = [row(seed, "small", "ours", 0.6 + seed / 100) for seed in range(5)]
    rows += [row(seed, "small", "base", 0.6) for seed in range(5 - common, 10 - common)]
    (table,) = tables(None, rows, AXES, {"scheme": "base"})
    expected = {3: "+3.00", 2: "+3.50", 1: "+4.00", 0: "-"}[common]
    assert cells(table, "diff.")[1] == expected
    assert cells(table, "remark")[1] == remark


def test_the_note_explains_the_columns_of_the_table() -> None:
    (compared,) = tables(None, ROWS, AXES, {"scheme": "base"})
    for word in ("n:", "mean ± sample standard deviation", "diff.:", "95 % CI:", "p:", "corrected"):
        assert word in compared.caption
    (alone,) = tables(None, ROWS, AXES, {})
    assert alone.caption == "n: number of seeds. Results: mean ± sample standard deviation over the seeds."
    assert "95 % CI" not in alone.header


def test_markdown_and_html_have_the_interval_and_the_remark() -> None:
    (table,) = tables(None, ROWS, AXES, {"scheme": "base"})
    assert "| +4.67 | +3.23 to +6.10 | 0.005 | interval excludes 0 (not corrected) " in table.markdown()
    cell = '<td class="number">{}</td>'
    numbers = "".join(map(cell.format, ("+4.67", "+3.23 to +6.10", "0.005")))
    assert f"{numbers}<td>interval excludes 0 (not corrected)</td></tr>" in table.html()


def test_differences_have_the_unit_of_their_metric() -> None:
    rows = [row(s, "small", "base", 0.6, test_nll=1.5) for s in range(3)]
    rows += [row(s, "small", "ours", 0.6, test_nll=1.5 + d) for s, d in enumerate((0.1, 0.2, 0.3))]
    (table,) = tables(None, rows, AXES, {"scheme": "base"}, "test_nll")
    assert cells(table, "diff.")[1] == "+0.200"
    assert cells(table, "95 % CI")[1] == "-0.048 to +0.448"  # 0.2 ± 4.3026527 * 0.1 / sqrt 3


def test_a_baseline_of_all_axes_is_one_row() -> None:
    (table,) = tables(None, ROWS, AXES, {"scheme": "base", "net": "large"})
    assert cells(table, "remark").count("baseline") == 1
    assert cells(table, "diff.")[0] == "-11.00"  # 0.61 - 0.72, over the seeds 0 and 1


def test_one_seed_claims_nothing() -> None:
    rows = [row(0, *labels, values[0]) for labels, values in ACCURACY.items()]
    (compared,) = tables(None, rows, AXES, {"scheme": "base"})
    assert cells(compared, "remark") == ["baseline", "one seed: nothing is claimed"] * 2
    assert cells(compared, "p") == cells(compared, "95 % CI") == ["-"] * 4
    assert cells(compared, "test (%)")[0] == "60.00"
    (alone,) = tables(None, rows, AXES, {})
    assert cells(alone, "remark") == ["one seed: nothing is claimed"] * 4
    assert "diff." not in alone.header


def test_a_run_without_a_result_says_so() -> None:
    (table,) = tables(None, [row(0, "small", "base", 0.5), row(0, "small", "ours", None)], AXES, {"scheme": "base"})
    assert list(table.rows[1]) == ["small", "ours", "0", "-", "-", "-", "-", "-", "no result"]
    (apart,) = tables(None, [row(0, "small", "base", 0.5), row(1, "small", "ours", 0.6)], AXES, {"scheme": "base"})
    assert cells(apart, "remark")[1] == "no seed in common with the baseline"


def test_figures_over_sparsity_have_a_row_for_each() -> None:
    rows = [
        row(seed, "small", scheme, value, stage=stage, sparsity_asked=sparsity, magnitude=magnitude, final=0)
        for seed in (0, 1)
        for scheme, shift in (("base", 0.0), ("ours", 0.1))
        for stage, sparsity, magnitude, value in ((1, 0.0, "14", 0.7 + shift), (2, 0.2, "8", 0.5 + 3 * shift))
    ]
    spec = FigureSpec(kind="sparsity", lines="scheme", panels="net")
    (table,) = tables(spec, rows, AXES, {"scheme": "base"})
    assert cells(table, "sparsity") == ["0 %", "20 %"] * 2
    assert cells(table, "M") == ["14", "8"] * 2
    assert cells(table, "diff.") == ["-", "-", "+10.00", "+30.00"]
    # Both seeds have the same difference, which has no variance.
    assert cells(table, "p") == cells(table, "95 % CI") == ["-"] * 4
    remark = "fewer than 3 common seeds, equal differences in all common seeds: not tested"
    assert cells(table, "remark") == ["baseline"] * 2 + [remark] * 2


def test_magnitudes_have_a_table_of_the_optimal_and_the_maximal() -> None:
    means = {"none": 0.6, "0": 0.5, "4": 0.7, "8": 0.65, "12": 0.4}
    rows = [row(0, "small", "base", mean, magnitude=m, run=m) | {"axis_M": m} for m, mean in means.items()]
    first, second = tables(FigureSpec(kind="magnitude"), rows, {"M": list(means)}, {})
    assert [list(line) for line in first.rows] == [["50 %", "4", "70.00", "8", "60.00"]]
    assert cells(second, "M") == list(means)
    by_nll = tables(FigureSpec(kind="magnitude", metric="test_nll"), rows, {"M": list(means)}, {}, "test_nll")[0]
    assert [list(line) for line in by_nll.rows] == [["50 %", "12", "0.400", "12", "0.600"]]


def test_the_runs_that_others_start_from_have_their_own_table() -> None:
    others = [row(seed, "", "", value, part="teacher") for seed, value in ((0, 0.8), (1, 0.9))]
    dense = row(0, "", "", 0.7, part="dense", run="d")
    *_, last = tables(None, [*others, dense, dense | {"stage": 0, "final": 0}, *ROWS], AXES, {})
    found = [list(line[:4]) for line in last.rows]
    assert found == [["teacher", "", "2", "85.00 ± 7.07"], ["dense", "", "1", "70.00"]]


def test_an_axis_may_have_the_name_of_a_column() -> None:
    (table,) = tables(
        None, [row(0, "", "", 0.5) | {"axis_p": "x"}, row(1, "", "", 0.5) | {"axis_p": "x"}], {"p": ["x"]}, {}
    )
    assert list(table.rows[0][:2]) == ["x", "2"]
    assert table.markdown().splitlines()[-2].split()[1:4] == ["---", "|", "--:"]


@pytest.mark.parametrize(
    ("label", "written"),
    [
        ("a|b", r"a\|b"),
        ("_x_", r"\_x\_"),
        ("snake_case", "snake_case"),
        ("$M$ *b* `c`", r"\$M\$ \*b\* \`c\`"),
        ("<b>", r"\<b>"),
        ("M < 4 & up", "M < 4 & up"),
        ("&lt;", r"\&lt;"),
        ("[a](b)", r"[a\](b)"),
        ("two\nlines", "two lines"),
    ],
)
def test_labels_are_text_in_markdown(label: str, written: str) -> None:
    *_, line = Table(["name"], [[label]], left={0}).markdown().splitlines()
    assert line[2:-2].strip() == written


def test_markdown_is_aligned_and_has_as_many_cells_in_each_line() -> None:
    lines = markdown(None, ROWS, AXES, {"scheme": "base"}).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    assert len({len(line) for line in lines[start:]}) == 1
    assert {line.count("|") for line in lines[start:]} == {10}
    assert lines[start - 1] == ""  # without it, the caption would be a line of the table


def test_html_escapes_labels_and_scopes_headers() -> None:
    html = Table(["na<me", "n"], [["<script>&", "1"]], 'say "so"', left={0}).html()
    assert '<th scope="col">na&lt;me</th><th scope="col" class="number">n</th>' in html
    assert '<th scope="row">&lt;script&gt;&amp;</th><td class="number">1</td>' in html
    assert "<caption>say &quot;so&quot;</caption>" in html
    assert 'aria-label="say &quot;so&quot;"' in html
