from pathlib import Path

import pytest
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelPruning, StochasticWeightAveraging

from dasc.callbacks import WeightEMA
from dasc.callbacks.refused import REFUSED, check_callbacks
from dasc.cli import main
from dasc.errors import UserError
from tests.support.errors import exit_message

CASES = {
    "WeightAveraging": ("", "use WeightEMA, which keeps masks and restarts at stage boundaries"),
    "EMAWeightAveraging": ("--trainer.callbacks.decay=0.9", "use WeightEMA, which keeps masks"),
    "StochasticWeightAveraging": ("--trainer.callbacks.swa_lrs=0.1", "replaces the learning rate of stages"),
    "ModelPruning": ("--trainer.callbacks.pruning_fn=l1_unstructured", "set the column sparsity of stages instead"),
}


@pytest.mark.parametrize("command", ["fit", "plan"])
@pytest.mark.parametrize(("name", "option", "reason"), [(k, *v) for k, v in CASES.items()], ids=list(CASES))
def test_a_callback_of_lightning_is_refused_before_anything_is_written(
    name: str, option: str, reason: str, command: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [command, "--config", str(tiny), f"--trainer.callbacks+={name}", *option.split()]
    sentence = exit_message(given, capsys)
    assert sentence.startswith(f"dasc {command}: trainer.callbacks must not contain {name}: ")
    assert reason in sentence
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["fit", "plan"])
def test_a_wrong_average_is_refused_before_anything_is_written(
    command: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [command, "--config", str(tiny), "--trainer.callbacks+=WeightEMA"]
    sentence = exit_message([*given, "--trainer.callbacks.decay=1"], capsys)
    assert sentence == f"dasc {command}: decay must be > 0 and < 1, got 1.0"
    twice = exit_message([*given, "--trainer.callbacks+=WeightEMA"], capsys)
    assert twice == f"dasc {command}: trainer.callbacks must have at most one WeightEMA, got 2"
    assert list(tmp_path.iterdir()) == []


class Pruning(ModelPruning): ...


class LongerEMA(WeightEMA): ...


def test_subclasses_are_refused_as_their_classes_are() -> None:
    for given in (Pruning, EMAWeightAveraging, StochasticWeightAveraging, *REFUSED):
        with pytest.raises(UserError, match=f"must not contain {given.__name__}: "):
            check_callbacks([LongerEMA, given])
    check_callbacks([WeightEMA, LongerEMA, object])


def test_a_plan_says_that_weights_are_averaged(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "--config", str(tiny), "--trainer.callbacks+=WeightEMA", "--trainer.callbacks.decay=0.99"])
    assert "averaged weights (WeightEMA, decay 0.99)" in " ".join(capsys.readouterr().out.split())
    main(["plan", "--config", str(tiny)])
    assert "averaged" not in capsys.readouterr().out
