"""`dasc teacher-report` sets teachers side by side, with the numbers that `dasc test` has for each of them."""

import builtins
import csv
import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits

from dasc import checkpoint
from dasc.cli import main
from dasc.data import ImageData
from dasc.metrics import METRICS
from dasc.teacher_report import draw
from tests.support.command import dasc
from tests.support.toy_metric import LARGEST_LOGIT

TITLES = (
    "accuracy",
    "negative log-likelihood",
    "calibration error",
    "class discrimination, predictions",
    "class discrimination, latent",
    "T. stddev over draws of the augmentation",
)
SHORT = "--stages=[{epochs: 1, magnitude: 14}]"


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs of one epoch, the first of a longer training than the second."""
    root = tmp_path_factory.mktemp("teachers")
    for limit in (8, 2):
        args = ("--config", tiny, SHORT, f"--trainer.limit_train_batches={limit}", f"--trainer.default_root_dir={root}")
        done = dasc("fit", *args)
        assert done.returncode == 0, done.stderr
    return root


def best(trained: Path, version: int) -> str:
    return str(trained / "lightning_logs" / f"version_{version}" / "checkpoints" / "best.ckpt")


def run(tiny: Path, *teachers: str) -> None:
    main(["teacher-report", "--config", str(tiny), "--teachers", *teachers])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def without_matplotlib(patch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def fail(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError("No module named 'matplotlib'")
        return real(name, *args, **kwargs)

    patch.setattr(builtins, "__import__", fail)


def words(svg: Path) -> set[str]:
    """What an SVG of matplotlib says: it draws letters as paths, with the text in a comment above them."""
    text = svg.read_text()
    assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    return {comment.strip() for comment in re.findall(r"<!--(.*?)-->", text, re.DOTALL)}


def scores_of(path: str) -> dict[str, float]:
    """The metrics that `dasc test` recorded of a checkpoint."""
    record = json.loads(Path(path).parents[1].joinpath("test.json").read_text())[-1]
    assert record["checkpoint"] == f"checkpoints/{Path(path).name}"
    metrics: dict[str, float] = record["metrics"]
    return metrics


def test_the_table_has_what_a_test_of_each_checkpoint_says(
    trained: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    teachers = [best(trained, number) for number in (0, 1)]
    run(tiny, *teachers)
    said = capsys.readouterr().out
    table = rows(tmp_path / "teachers.csv")
    assert list(table[0]) == ["teacher", *METRICS]
    assert [row["teacher"] for row in table] == teachers
    assert table[0]["accuracy"] != table[1]["accuracy"]
    assert "written: teachers.csv and teachers.svg" in said
    for row in table:
        main(["test", "--config", str(tiny), f"--ckpt_path={row['teacher']}"])
        values = scores_of(row["teacher"])
        for name in METRICS:
            assert float(row[name]) == pytest.approx(values[name], rel=1e-5), name
        line = next(line for line in said.splitlines() if line.startswith(row["teacher"]))
        assert line.split()[1:] == [f"{float(row[name]):.4f}" for name in METRICS]
    assert {path.name for path in tmp_path.iterdir()} == {"teachers.csv", "teachers.svg"}


@torch.no_grad()
def test_a_metric_that_is_added_to_the_table_is_in_the_test_and_in_the_report(
    trained: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setitem(METRICS, "largest_logit", LARGEST_LOGIT)
    network = checkpoint.load_network(best(trained, 0)).network.eval()
    data = ImageData(eval_batch_size=360)
    data.setup("test")
    (batch,) = data.test_dataloader()
    largest = network(data.pipeline.normalise(batch.images)).max().item()
    logger = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=log"]
    main(["test", "--config", str(tiny), f"--ckpt_path={best(trained, 0)}", *logger])
    assert scores_of(best(trained, 0))["largest_logit"] == pytest.approx(largest, rel=1e-6)
    assert re.search(rf"^  largest logit of all +{10 * largest:.1f}$", capsys.readouterr().out, re.MULTILINE)
    (logged,) = rows(next((tmp_path / "log").glob("**/metrics.csv")))
    assert float(logged["test/largest_logit"]) == pytest.approx(largest, rel=1e-6)
    run(tiny, best(trained, 0))
    (row,) = rows(tmp_path / "teachers.csv")
    assert list(row) == ["teacher", *METRICS]
    assert float(row["largest_logit"]) == pytest.approx(largest, rel=1e-6)
    header, *_, line = [
        x for x in capsys.readouterr().out.splitlines() if "largest" in x or x.startswith(row["teacher"])
    ]
    assert header.split()[-1] == "largest"
    assert line.split()[-1] == f"{largest:.4f}"
    said = words(tmp_path / "teachers.svg")
    assert said >= {*TITLES, "largest logit of all", f"{largest:.3g}"}


@torch.no_grad()
def test_the_accuracy_is_that_of_the_network_in_the_checkpoint(trained: Path, tiny: Path, tmp_path: Path) -> None:
    run(tiny, best(trained, 1))
    network = checkpoint.load_network(best(trained, 1)).network.eval()
    data = ImageData(eval_batch_size=360)
    data.setup("test")
    (batch,) = data.test_dataloader()
    hits = network(data.pipeline.normalise(batch.images)).argmax(1) == batch.targets
    (row,) = rows(tmp_path / "teachers.csv")
    assert float(row["accuracy"]) == pytest.approx(float(hits.double().mean()), abs=1e-6)
    assert len(load_digits().target) // 5 + 1 == len(hits)


def test_the_figure_has_all_names_and_all_titles(trained: Path, tiny: Path, tmp_path: Path) -> None:
    teachers = [best(trained, number) for number in (0, 1)]
    run(tiny, *teachers)
    said = words(tmp_path / "teachers.svg")
    assert said >= {*teachers, *TITLES}
    bars = {f"{float(row[name]):.3g}" for row in rows(tmp_path / "teachers.csv") for name in METRICS}
    assert said >= bars


def test_without_matplotlib_there_is_a_table_and_the_command_that_installs_it(
    trained: Path,
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_matplotlib(monkeypatch)
    monkeypatch.setenv("COLUMNS", "300")
    run(tiny, best(trained, 0))
    said = capsys.readouterr().out
    (row,) = rows(tmp_path / "teachers.csv")
    assert f"{float(row['nll']):.4f}" in said
    assert "written: teachers.csv (for the figure: pip install 'dasc[study]')" in said
    assert [path.name for path in tmp_path.iterdir()] == ["teachers.csv"]


def test_a_folder_of_runs_stands_for_the_best_of_its_newest(trained: Path, tiny: Path, tmp_path: Path) -> None:
    older = str(trained / "lightning_logs" / "version_0")
    run(tiny, str(trained), best(trained, 1), older, best(trained, 0))
    table = rows(tmp_path / "teachers.csv")
    assert [row.pop("teacher") for row in table] == [str(trained), best(trained, 1), older, best(trained, 0)]
    assert table[0] == table[1]
    assert table[2] == table[3]
    assert table[0] != table[2]


def test_files_are_written_into_the_root_folder(trained: Path, tiny: Path, tmp_path: Path) -> None:
    command = ["teacher-report", "--config", str(tiny), f"--trainer.default_root_dir={tmp_path / 'there'}"]
    main([*command, "--teachers", best(trained, 0)])
    assert {path.name for path in (tmp_path / "there").iterdir()} == {"teachers.csv", "teachers.svg"}
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def of_other_classes(path: Path, source: str) -> str:
    saved = torch.load(source, weights_only=True)
    del saved["dasc"]["checksum"]
    saved["dasc"]["classes"] = [*"012345678", "ten"]
    torch.save(saved, path)
    return str(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.ckpt", "there is no checkpoint nowhere.ckpt"),
        ("empty", "no run in empty has a checkpoint 'best'"),
        ("other.ckpt", "class 9 of the teacher other.ckpt is 'ten', of the data '9'"),
        ("weights.pt", "weights.pt is a state_dict: give teacher-report checkpoints of dasc"),
    ],
)
def test_a_teacher_that_cannot_be_compared_is_named_in_one_sentence_and_nothing_is_written(
    name: str, message: str, trained: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    of_other_classes(tmp_path / "other.ckpt", best(trained, 0))
    torch.save({}, tmp_path / "weights.pt")
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(SystemExit) as raised:
        run(tiny, best(trained, 0), name)
    assert raised.value.code == 2
    said = capsys.readouterr()
    last = said.err.splitlines()[-1]
    assert last.startswith("dasc teacher-report: ")
    assert message in last
    assert "Traceback" not in said.err
    assert {path.name for path in tmp_path.iterdir()} == before


def test_without_teachers_the_option_is_named(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["teacher-report", "--config", str(tiny)])
    assert raised.value.code == 2
    assert "teachers" in capsys.readouterr().err.splitlines()[-1]


VALUES: dict[str, Any] = dict.fromkeys(METRICS, 0.5)


@pytest.mark.parametrize(
    "row",
    [
        {"teacher": "a"} | {name: value for name, value in VALUES.items() if name != "latent_discrimination"},
        {"teacher": "a"} | VALUES | {"class_discrimination": math.nan},
        {"teacher": "a"} | VALUES | {"class_discrimination": math.inf},
        {"teacher": "$a_$b"} | VALUES,
        {"teacher": "a <&> 'b' [c] é"} | VALUES,
    ],
    ids=["no value", "nan", "inf", "a name with dollars", "a name with brackets"],
)
def test_a_figure_is_drawn_of_any_name_and_value(row: dict[str, Any], tmp_path: Path) -> None:
    assert draw([row, {"teacher": "b"} | VALUES], tmp_path / "a.svg")
    said = words(tmp_path / "a.svg")
    assert "b" in said
    assert said >= set(TITLES)


def test_a_name_with_brackets_is_printed_as_it_is(
    trained: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "[a]").symlink_to(trained)
    run(tiny, "[a]")
    assert "[a]" in capsys.readouterr().out
