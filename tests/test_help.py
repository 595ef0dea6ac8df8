"""What --help and --version say."""

import re

import pytest

from dasc import __version__
from dasc.cli import main

COMMANDS = {
    "fit": "Train and prune through the table of stages.",
    "validate": "Score a checkpoint on the validation images.",
    "test": "Score a checkpoint on the test images.",
    "predict": "Predict image files, or the test images of a config.",
    "plan": "Print what fit would do, without training.",
    "teacher-report": "Compare teachers on the test images.",
}


def printed(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_dasc_says_what_it_is_and_each_command_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(["--help"], capsys)
    about = " ".join(text.split("options:")[0].split())
    assert "Data augmentation schedules for compression" in about
    assert "Lightning" not in about
    lines = {line.split()[0]: line for line in text.split("Available subcommands:")[1].splitlines() if line.strip()}
    for name, what in COMMANDS.items():
        assert re.fullmatch(rf"    {name} +{re.escape(what)}", lines[name])


@pytest.mark.parametrize("command", list(COMMANDS))
def test_a_command_starts_with_what_it_does_and_its_usual_options(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    start, rest = printed([command, "--help"], capsys).split("\noptions:\n", 1)
    usage, what, *_ = [line for line in start.splitlines() if line]
    assert usage == f"usage: dasc {command} [options]"
    assert what == COMMANDS[command]
    for option in ("config", "stages", "epochs_scale", "init_from", "ckpt_path", "model", "data", "trainer"):
        assert f"\n  --{option}" in start
    assert max(map(len, start.splitlines())) <= 80
    ours = " ".join(rest.split())
    for key, words in {
        "--stages": "sparsity, 0 to below 1; magnitude, 0..30, none, random or [a, b]",
        "--epochs_scale": "Multiplies every row's epochs",
        "--init_from": "load (weights, masks, both), head (keep, new)",
        "--ckpt_path": "a path, or last for the newest run's. What is scored may also be best",
    }.items():
        said = re.search(rf"{key} [A-Z_]+ (.*?)\((?:required, )?type:", ours)
        assert said is not None
        assert words in said[1]


def test_the_keys_of_model_and_data_are_listed_with_what_they_mean(capsys: pytest.CaptureFixture[str]) -> None:
    model = " ".join(printed(["fit", "--model.help", "PrunedClassifier"], capsys).split())
    assert "--model.scope {layer,global} Whether weights are compared within their `layer`" in model
    assert "--model.skip SKIP" in model
    data = " ".join(printed(["fit", "--data.help", "ImageData"], capsys).split())
    assert "--data.batch_size BATCH_SIZE Images of one optimizer step over all processes." in data
    assert "--data.split_seed SPLIT_SEED Seed of the validation part" in data


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["__main__.py"])  # as for python -m dasc
    assert printed(["--version"], capsys) == f"dasc {__version__}\n"


def test_studies_are_named_beside_the_subcommands(capsys: pytest.CaptureFixture[str]) -> None:
    assert "dasc study plan|run|status|report|magnitudes FILE" in printed(["--help"], capsys)
    said = printed(["study", "--help"], capsys)
    for name in ("plan", "run", "status", "report", "magnitudes"):
        assert re.search(rf"^ +{name}\s+\w", said, re.MULTILINE)
    assert "Options of dasc fit, such as --data.root DIR" in " ".join(
        printed(["study", "run", "--help"], capsys).split()
    )
