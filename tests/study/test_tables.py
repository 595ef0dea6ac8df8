"""The tables of a study, cell by cell."""

import io
from typing import Any

import pytest
from rich.console import Console
from scipy import stats

from dasc.study.analysis.figures.magnitude import MagnitudeFigure
from dasc.study.analysis.figures.sparsity import SparsityFigure
from dasc.study.analysis.results import final_rows
from dasc.study.analysis.table import Table
from dasc.study.analysis.tables import combinations, others
from tests.support.results import results

AXES = {"net": ["small", "large"], "scheme": ["base", "ours"]}
ACCURACY = {
    ("small", "base"): (0.60, 0.62, 0.64),
    ("small", "ours"): (0.65, 0.66, 0.69),
    ("large", "base"): (0.70, 0.74),
    ("large", "ours"): (0.71, 0.74, 0.70),
}


def row(seed: int, net: str | None, scheme: str | None, accuracy: float | None, **more: Any) -> dict[str, Any]:
    known = {"part": "study", "run": f"{net}{scheme}{seed}", "seed": seed, "axis_net": net, "axis_scheme": scheme}
    stage = {"stage": 1, "final": 1, "sparsity_asked": 0.5, "magnitude": "4"}
    measured = {"test_accuracy": accuracy, "val_accuracy_last": None if accuracy is None else accuracy + 0.01}
    return known | stage | measured | {"test_nll": accuracy} | more


ROWS = [row(seed, *labels, value) for labels, values in ACCURACY.items() for seed, value in enumerate(values)]


def table_of(
    rows: list[dict[str, Any]], baseline: dict[str, str], metric: str = "test_accuracy", axes: Any = AXES
) -> Table:
    return combinations(final_rows(results(rows, axes)), axes, baseline, metric)


def cells(table: Table, column: str) -> list[str]:
    return [line[list(table.header).index(column)] for line in table.rows]


def test_each_combination_has_its_mean_and_its_difference_to_the_baseline() -> None:
    table = table_of(ROWS, {"scheme": "base"})
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
        "established",
        "baseline",
        "paired over 2 of 3 seeds; fewer than 3 common seeds: not tested",
    ]
    assert list(table.header) == ["net", "scheme", "n", "test (%)", "val. (%)", "diff.", "95 % CI", "p", "remark"]


@pytest.mark.parametrize(
    ("ours", "interval", "p", "remark"),
    [
        # variance 0.7: 0.2 ± 2.7764451 * sqrt(0.7 / 5), and 1.8 ± the same
        ((1, 0, -1, 0, 1), "-0.84 to +1.24", "0.621", "not established"),
        ((1, 2, 3, 2, 1), "+0.76 to +2.84", "0.009", "established"),
        ((-1, -2, -3, -2, -1), "-2.84 to -0.76", "0.009", "established"),
        ((1, 2, 3), "-0.48 to +4.48", "0.074", "not established"),
        ((1, 2, 3, None, None), "-0.48 to +4.48", "0.074", "not established"),
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
    table = table_of(rows, {"scheme": "base"})
    assert cells(table, "95 % CI")[1] == interval
    assert cells(table, "p")[1] == p
    assert cells(table, "remark")[1] == remark


@pytest.mark.parametrize(
    ("common", "remark"),
    [
        (3, "paired over 3 of 5 seeds; established"),  # 3 ± 4.3026527 / sqrt 3
        (2, "paired over 2 of 5 seeds; fewer than 3 common seeds: not tested"),
        (1, "one common seed: nothing is claimed"),
        (0, "no seed in common with the baseline"),
    ],
)
def test_seeds_without_a_pair_are_remarked(common: int, remark: str) -> None:
    rows = [row(seed, "small", "ours", 0.6 + seed / 100) for seed in range(5)]
    rows += [row(seed, "small", "base", 0.6) for seed in range(5 - common, 10 - common)]
    table = table_of(rows, {"scheme": "base"})
    expected = {3: "+3.00", 2: "+3.50", 1: "+4.00", 0: "-"}[common]
    assert cells(table, "diff.")[1] == expected
    assert cells(table, "remark")[1] == remark


def test_the_note_explains_the_columns_of_the_table() -> None:
    compared = table_of(ROWS, {"scheme": "base"})
    for word in ("n:", "mean ± sample standard deviation", "diff. and 95 % CI:", "p:", "corrected"):
        assert word in compared.caption
    alone = table_of(ROWS, {})
    assert alone.caption.startswith("n: number of seeds. Results: mean ± sample standard deviation over the seeds")
    assert "95 % CI" not in alone.header
    assert alone.note == ""


def test_sentences_say_which_differences_are_established() -> None:
    axes = {"scheme": ["base", "a", "b", "c", "d"]}
    differences = {"base": (0, 0, 0, 0), "a": (1, 2, 3, 2), "b": (-4, -3, -4, -3), "c": (1, -1, 1, -2), "d": (1, 2)}
    base = (0.5, 0.6, 0.55, 0.52)
    rows = [
        row(seed, "", scheme, base[seed] + d / 100) for scheme, ds in differences.items() for seed, d in enumerate(ds)
    ]
    table = table_of(rows, {"scheme": "base"}, axes=axes)
    p = {scheme: stats.ttest_1samp(ds, 0).pvalue for scheme, ds in differences.items() if scheme in "abc"}
    # the smallest of three p values counts three times, the next twice; d has too few seeds
    assert p["b"] < p["a"] < p["c"]
    expected = [3 * p["b"], 2 * p["a"], p["c"]]
    assert [float(cells(table, "p")[i].removeprefix("< ")) for i in (2, 1, 3)] == pytest.approx(expected, abs=6e-4)
    assert table.note == (
        "Established at 5%: a has a higher test (%) than the baseline, by 2.00; "
        "b has a lower test (%) than the baseline, by 3.50. "
        "Not established, which does not show that they are equal: c. Not tested: d."
    )
    assert 2 * p["a"] < 0.05
    few = table_of([r for r in rows if r["axis_scheme"] in ("base", "d")], {"scheme": "base"}, axes=axes)
    assert few.note == "No difference is tested: that takes 3 common seeds whose differences are not all equal."


def test_a_single_network_has_the_interval_of_its_images() -> None:
    rows = [row(0, net, "base", accuracy, test_images=100) for net, accuracy in (("small", 0.6), ("large", 0.95))]
    # Wilson's bounds: (k + z^2 / 2 ± z sqrt(k (n - k) / n + z^2 / 4)) / (n + z^2) with z = 1.959964
    assert cells(table_of(rows, {}), "test (%)") == ["60.00 (50.2 to 69.1)", "95.00 (88.8 to 97.8)"]
    assert cells(table_of(rows, {}), "val. (%)") == ["61.00", "96.00"]
    two = [*rows, row(1, "small", "base", 0.7, test_images=100)]
    assert cells(table_of(two, {}), "test (%)")[0] == "65.00 ± 7.07"


def test_what_is_equal_in_all_rows_is_in_the_caption() -> None:
    rows = [row(seed, "small", scheme, 0.5 + seed / 10) for scheme in ("base", "ours") for seed in (0, 1)]
    table = table_of(rows, {})
    assert list(table.header) == ["scheme", "test (%)", "val. (%)"]
    assert "net: small, n: 2" in table.caption


def test_markdown_has_the_interval_and_the_remark() -> None:
    table = table_of(ROWS, {"scheme": "base"})
    assert "| +4.67 | +3.23 to +6.10 | 0.005 | established " in table.markdown()
    assert table.markdown().rstrip().endswith("Not tested: large, ours.")


def test_differences_have_the_unit_of_their_metric() -> None:
    rows = [row(s, "small", "base", 0.6, test_nll=1.5) for s in range(3)]
    rows += [row(s, "small", "ours", 0.6, test_nll=1.5 + d) for s, d in enumerate((0.1, 0.2, 0.3))]
    table = table_of(rows, {"scheme": "base"}, "test_nll")
    assert cells(table, "diff.")[1] == "+0.200"
    assert cells(table, "95 % CI")[1] == "-0.048 to +0.448"  # 0.2 ± 4.3026527 * 0.1 / sqrt 3


def test_a_baseline_of_all_axes_is_one_row() -> None:
    table = table_of(ROWS, {"scheme": "base", "net": "large"})
    assert cells(table, "remark").count("baseline") == 1
    assert cells(table, "diff.")[0] == "-11.00"  # 0.61 - 0.72, over the seeds 0 and 1


def test_one_seed_claims_nothing() -> None:
    rows = [row(0, *labels, values[0]) for labels, values in ACCURACY.items()]
    compared = table_of(rows, {"scheme": "base"})
    assert cells(compared, "remark") == ["baseline", "one seed: nothing is claimed"] * 2
    assert cells(compared, "p") == cells(compared, "95 % CI") == ["-"] * 4
    assert cells(compared, "test (%)")[0] == "60.00"
    alone = table_of(rows, {})
    assert "remark: one seed: nothing is claimed" in alone.caption
    assert "diff." not in alone.header


def test_a_run_without_a_result_says_so() -> None:
    table = table_of([row(0, "small", "base", 0.5), row(0, "small", "ours", None)], {"scheme": "base"})
    assert list(table.rows[1]) == ["ours", "0", "-", "-", "-", "-", "-", "no result"]
    apart = table_of([row(0, "small", "base", 0.5), row(1, "small", "ours", 0.6)], {"scheme": "base"})
    assert cells(apart, "remark")[1] == "no seed in common with the baseline"


def test_a_figure_over_sparsity_has_matrices_of_labels_by_sparsities() -> None:
    rows = [
        row(seed, "small", scheme, value + shift, stage=stage, sparsity_asked=sparsity, magnitude=magnitude, final=0)
        for seed, shift in ((0, 0.0), (1, 0.02), (2, 0.04))
        for scheme, more in (("base", 0.0), ("ours", 0.1 + shift))
        for stage, sparsity, magnitude, value in ((1, 0.0, "14", 0.5 + more), (2, 0.2, "8", 0.3))
    ]
    results_, figure = results(rows, AXES), SparsityFigure(lines="scheme", panels="net")
    means, differences = figure.tables(results_, AXES, {"scheme": "base"})
    assert list(means.header) == list(differences.header) == ["scheme", "0 %", "20 %"]
    assert means.rows == [["base", "52.00 ± 2.00", "32.00 ± 2.00"], ["ours", "64.00 ± 4.00", "32.00 ± 2.00"]]
    assert "n: 3 seeds." in means.caption
    assert "net: small" in means.caption
    # differences of 0.10, 0.12 and 0.14: 12 ± 4.3026527 * 2 / sqrt 3
    assert differences.rows == [["base", "baseline", "baseline"], ["ours", "+12.00 (+7.03 to +16.97) *", "+0.00"]]
    assert differences.note == (
        "Established at 5%: ours, 0 % has a higher test (%) than the baseline, by 12.00. Not tested: ours, 20 %."
    )


def test_magnitudes_have_a_table_of_the_optimal_and_the_maximal() -> None:
    means = {"0": 0.5, "4": 0.7, "8": 0.65, "12": 0.4, "none": 0.6}
    rows = [row(0, "small", "base", mean, magnitude=m, run=m) | {"axis_M": m} for m, mean in means.items()]
    axes = {"M": list(means)}
    first, second = MagnitudeFigure().tables(results(rows, axes), axes, {})
    assert [list(line) for line in first.rows] == [["50 %", "4", "70.00", "8", "60.00"]]
    assert cells(second, "M") == list(means)
    assert cells(second, "diff.") == ["-10.00", "+10.00", "+5.00", "-20.00", "-"]
    by_nll = MagnitudeFigure(metric="test_nll").tables(results(rows, axes), axes, {})[0]
    assert [list(line) for line in by_nll.rows] == [["50 %", "12", "0.400", "12", "0.600"]]


def test_the_runs_that_others_start_from_have_their_own_table() -> None:
    before = [row(seed, None, None, value, part="teacher") for seed, value in ((0, 0.8), (1, 0.9))]
    dense = row(0, "large", None, 0.7, part="dense", run="d")
    rows = [*before, dense, dense | {"stage": 0, "final": 0}, *ROWS]
    (table,) = others(results(rows, AXES), AXES, "test_accuracy")
    found = [list(line[:4]) for line in table.rows]
    assert found == [["teacher", "", "2", "85.00 ± 7.07"], ["dense", "large", "1", "70.00"]]
    assert others(results(ROWS, AXES), AXES, "test_accuracy") == []


def test_an_axis_may_have_the_name_of_a_column() -> None:
    rows = [row(seed, None, None, 0.5) | {"axis_p": "x"} for seed in (0, 1)]
    table = table_of(rows, {}, axes={"p": ["x"]})
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
    lines = table_of(ROWS, {"scheme": "base"}).markdown().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    shown = [line for line in lines if line.startswith("|")]
    assert len(shown) == 2 + 4
    assert len({len(line) for line in shown}) == 1
    assert {line.count("|") for line in shown} == {10}
    assert lines[first - 1] == ""  # without it, the caption would be a line of the table


def test_the_terminal_shows_the_same_cells() -> None:
    table = table_of(ROWS, {"scheme": "base"})
    console = Console(width=200, file=io.StringIO())
    console.print(table.rich())
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    for text in ("+3.23 to +6.10", "established", "Not tested: large, ours."):
        assert text in printed
