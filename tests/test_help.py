"""What --help and --version say."""

import re

import pytest

from dasc import __version__
from dasc.cli import main
from dasc.help_format import readable
from tests.support.command import dasc

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
    about, listed = text.split("\ncommands:\n")
    assert "Data augmentation schedules for compression" in about
    assert "Lightning" not in text
    lines = {line.split()[0]: line for line in listed.split("\n\n")[0].splitlines()}
    assert list(lines) == [*COMMANDS, "export", "compare", "study", "configs", "completion"]
    for name, what in COMMANDS.items():
        assert re.fullmatch(rf"  {name} +{re.escape(what)}", lines[name])


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
        "--stages": "channels, the share removed, 0 to below 1; magnitude, 0..30, none, random or [a, b]",
        "--epochs_scale": "Multiplies every row's epochs",
        "--init_from": "load (weights, masks, both), head (keep, new)",
        "--ckpt_path": "a path, a run folder, or last for the newest run's. What is scored may also be best",
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


MARKUP = (
    "Namespace(",
    "<class",
    ":class:",
    ":paramref:",
    "``",
    "known subclasses",
    "Linked arguments",
    "torch.nn",
    "_scaled",
)


@pytest.mark.parametrize("command", list(COMMANDS))
def test_the_help_of_a_command_is_readable_and_ends_with_lightnings_options(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed([command, "--help"], capsys)
    assert [mark for mark in MARKUP if mark in text] == []
    order = [text.index(f"\n  --{option}") for option in ("stages STAGES", "model.help", "data.help", "trainer CONFIG")]
    assert order == sorted(order)
    assert "\n  --trainer." in text.rpartition("\n\n")[2]


HELP = {
    "--model.help PrunedClassifier": ("CifarMobileNetV2, CifarResNet, CifarShuffleNetV2, TorchvisionNetwork", 65),
    "--data.help ImageData": ("(type: pad | resize | none | null, default: null)", 120),
    "--model.network.help CifarResNet": ("--model.network.depth DEPTH Number of weighted layers", 20),
    "--model.help PrunedClassifier --model.network.help CifarResNet": ("--model.network.shortcut {A,B}", 20),
    "--model.network.help": ("or the import path of your own, such as my_package.MyClass", 20),
    "--model.optimizer.help": ("Adam, Adamax, AdamW", 20),
    "--model.optimizer.help SGD": ("--model.optimizer.momentum MOMENTUM", 70),
    "--model=PrunedClassifier --model.criterion.help": ("L1, LAMP, Random", 20),
    "--model=PrunedClassifier --model.channel_criterion.help ChannelL1": ("--model.channel_criterion.round_to", 25),
    "--trainer.callbacks.help": ("DeviceStatsMonitor, EarlyStopping, LambdaCallback", 20),
    "--trainer.callbacks.help=WeightEMA": ("--trainer.callbacks.decay DECAY", 40),
}
"""Words after `dasc fit`, a part of the help, and its number of lines at most."""


@pytest.mark.parametrize("words", list(HELP))
def test_the_help_of_a_class_is_short_and_names_the_classes_of_dasc(words: str) -> None:
    part, lines = HELP[words]
    done = dasc("fit", *words.split())
    assert done.returncode == 0, done.stderr
    assert part in " ".join(done.stdout.split())
    assert len(done.stdout.splitlines()) <= lines
    assert [mark for mark in MARKUP if mark in done.stdout] == []


def test_callbacks_that_a_training_refuses_or_adds_itself_are_not_listed() -> None:
    text = dasc("fit", "--trainer.callbacks.help").stdout
    assert "WeightEMA" in text
    for name in ("BatchSizeFinder", "StageReport", "BaseFinetuning", "SaveConfig", "ModelPruning", "Timer"):
        assert name not in text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Images. (type: <class 'ImageData'>, default: null)", "Images. (type: ImageData, default: null)"),
        ("(type: Optional[list[str]], default: null)", "(type: list[str] | null, default: null)"),
        ("(type: Union[int, Literal['a', 'b-c'], null], default: a)", "(type: int | a | b-c | null, default: a)"),
        ("(type: Union[A, list[Union[A, B]], null])", "(type: A | list[A | B] | null)"),
        ("(type: Callable[[Iterable], Optimizer])", "(type: Callable[[Iterable], Optimizer])"),
        ("As :class:`~torch.nn.Linear` or ``x``. Default: ``None``. (type: int)", "As Linear or x. (type: int)"),
        (
            "(type: Logger, known subclasses: a.b.Two, a.One)",
            "(type: Logger; one of One, Two, or the import path of your own, such as my_package.MyClass)",
        ),
        ("(type: Tensor, known subclasses: torch.Tensor, torch.nn.Parameter)", "(type: Tensor)"),
    ],
)
def test_types_and_markup_become_plain(given: str, expected: str) -> None:
    assert readable(given) == expected


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
