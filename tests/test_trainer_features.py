"""Every option of Lightning's Trainer and every callback of Lightning works or is refused, as docs/trainer.md says."""

import ast
import csv
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch.callbacks
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BasePredictionWriter,
    Checkpoint,
    LambdaCallback,
    LearningRateMonitor,
    ModelSummary,
    ProgressBar,
    RichModelSummary,
    RichProgressBar,
    ThroughputMonitor,
    TQDMProgressBar,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dasc.cli import main, run
from dasc.cli.fit import Fit
from dasc.config import ConfigReader
from dasc.data import ImageData
from dasc.modules import Classifier, PrunedClassifier
from dasc.networks import CifarResNet
from dasc.stages import Stages
from tests.support.errors import exit_message
from tests.support.training import bare_trainer

DOCS = Path(__file__).parents[1] / "docs" / "trainer.md"


def documented(section: str) -> dict[str, str]:
    """The names of a table of docs/trainer.md with their status."""
    text = DOCS.read_text().partition(f"## {section}")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (works|refused) \|", text, re.M))


def test_every_option_of_the_trainer_is_documented() -> None:
    assert list(documented("Trainer options")) == list(inspect.signature(Trainer).parameters)


def test_every_callback_of_lightning_is_documented() -> None:
    assert set(documented("Callbacks")) == set(lightning.pytorch.callbacks.__all__)


CALLBACK = "--trainer.callbacks+={class_path: lightning.pytorch.callbacks.%s}"
REFUSED = {
    "max_epochs": (["--trainer.max_epochs=3"], "trainer.max_epochs is 3, but the stages have 6 epochs"),
    "max_steps": (["--trainer.max_steps=3"], "trainer.max_steps must be -1, got 3: the table of stages is the length"),
    "barebones": (["--trainer.barebones=true"], "trainer.barebones must be false, got True: it switches off"),
    "model_registry": (["--trainer.model_registry=me/model"], "trainer.model_registry must be null, got me/model"),
    "BackboneFinetuning": (
        [CALLBACK % "BackboneFinetuning"],
        "must not contain BackboneFinetuning: it adds parameter groups",
    ),
    "BaseFinetuning": ([CALLBACK % "BaseFinetuning"], "must not contain BaseFinetuning: it adds parameter groups"),
    "BatchSizeFinder": ([CALLBACK % "BatchSizeFinder"], "must not contain BatchSizeFinder: data.batch_size is part"),
    "EMAWeightAveraging": ([CALLBACK % "EMAWeightAveraging"], "must not contain EMAWeightAveraging: it averages"),
    "GradientAccumulationScheduler": (
        [CALLBACK % "GradientAccumulationScheduler, init_args: {scheduling: {2: 4}}"],
        "must not contain GradientAccumulationScheduler: it changes the number of images per optimizer step",
    ),
    "LearningRateFinder": ([CALLBACK % "LearningRateFinder"], "must not contain LearningRateFinder: the table"),
    "ModelPruning": (
        [CALLBACK % "ModelPruning, init_args: {pruning_fn: l1_unstructured}"],
        "must not contain ModelPruning: set the column sparsity",
    ),
    "OnExceptionCheckpoint": (
        [CALLBACK % "OnExceptionCheckpoint, init_args: {dirpath: kept}"],
        "must not contain OnExceptionCheckpoint: a later run would resume from its file",
    ),
    "SpikeDetection": ([CALLBACK % "SpikeDetection"], "must not contain SpikeDetection: it waits for the device"),
    "StochasticWeightAveraging": (
        [CALLBACK % "StochasticWeightAveraging, init_args: {swa_lrs: 0.1}"],
        "must not contain StochasticWeightAveraging: it replaces the learning rate",
    ),
    "Timer": ([CALLBACK % "Timer"], "must not contain Timer: it cannot be saved in config.yaml: set trainer.max_time"),
    "WeightAveraging": ([CALLBACK % "WeightAveraging"], "must not contain WeightAveraging: it averages pruning masks"),
}
"""By name: the options of `dasc fit` and what it says."""

REFUSED_VALUES = {
    "no batches": (["--trainer.limit_train_batches=0"], "trainer.limit_train_batches must be > 0, got 0"),
    "no batches by share": (
        ["--trainer.limit_train_batches=0.01"],
        "trainer.limit_train_batches must leave one of the 8 batches of an epoch, got 0.01",
    ),
    "no overfitted batches": (
        ["--trainer.overfit_batches=0.01"],
        "trainer.overfit_batches must leave one of the 8 batches of an epoch, got 0.01",
    ),
    "fsdp": (["--trainer.strategy=fsdp"], "trainer.strategy must be auto or ddp, got fsdp"),
    "a strategy by class": (
        ["--trainer.strategy={class_path: lightning.pytorch.strategies.ModelParallelStrategy}"],
        "trainer.strategy must be auto or ddp, got ModelParallelStrategy",
    ),
    "transformer engine": (
        ["--trainer.precision=transformer-engine"],
        "trainer.precision must be one of 32-true, bf16-mixed",
    ),
    "asynchronous checkpoints": (
        ["--trainer.plugins=[{class_path: lightning.pytorch.plugins.io.AsyncCheckpointIO}]"],
        "trainer.plugins must be without a CheckpointIO, got AsyncCheckpointIO",
    ),
    "sync_batchnorm on the CPU": (
        ["--trainer.sync_batchnorm=true"],
        "trainer.sync_batchnorm must be false on the CPU, got true",
    ),
}


@pytest.mark.parametrize(
    ("args", "said"), [*REFUSED.values(), *REFUSED_VALUES.values()], ids=[*REFUSED, *REFUSED_VALUES]
)
def test_what_contradicts_the_table_is_refused_in_one_sentence(
    args: list[str], said: str, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in exit_message(["fit", "--config", str(tiny), *args], capsys)
    assert not Path("lightning_logs").exists()


@pytest.mark.parametrize("name", ["max_steps", "StochasticWeightAveraging"])
def test_a_plan_refuses_what_fit_refuses(name: str, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args, said = REFUSED[name]
    assert said in exit_message(["plan", "--config", str(tiny), *args], capsys)
    assert not Path("lightning_logs").exists()


OPTIONS = [
    *("--trainer.accelerator=cpu", "--trainer.num_nodes=1", "--trainer.strategy=auto", "--trainer.devices=1"),
    *("--trainer.limit_train_batches=3", "--trainer.limit_val_batches=1", "--data.eval_batch_size=96"),
    *("--trainer.num_sanity_val_steps=2", "--trainer.log_every_n_steps=2", "--trainer.accumulate_grad_batches=2"),
    *("--trainer.gradient_clip_val=0.01", "--trainer.gradient_clip_algorithm=value"),
    *("--trainer.deterministic=true", "--trainer.benchmark=false", "--trainer.inference_mode=false"),
    *("--trainer.use_distributed_sampler=true", "--trainer.reload_dataloaders_every_n_epochs=1"),
    *("--trainer.profiler=simple", "--trainer.detect_anomaly=true", "--trainer.enable_autolog_hparams=false"),
    *("--trainer.enable_progress_bar=true", "--trainer.enable_model_summary=true", "--trainer.min_epochs=1"),
    *("--trainer.plugins=[{class_path: lightning.pytorch.plugins.environments.LightningEnvironment}]",),
    *("--trainer.callbacks+=LearningRateMonitor", "--trainer.callbacks+=DeviceStatsMonitor"),
    *(f"--trainer.callbacks+={__name__}.Gradients",),
    *("--trainer.val_check_interval=3", "--trainer.min_steps=1", "--trainer.check_val_every_n_epoch=1"),
]
STEPS = 2
"""Optimizer steps of an epoch: 3 batches, 2 for each step."""


class Gradients(Callback):
    """Keeps the largest gradient, and whether validation was in inference mode."""

    largest = 0.0
    inference: bool | None = None

    def on_before_zero_grad(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        gradients = [p.grad.abs().max() for p in pl_module.parameters() if p.grad is not None]
        type(self).largest = max([self.largest, *map(float, gradients)])

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        type(self).inference = torch.is_inference_mode_enabled()


@pytest.fixture(scope="module")
def optioned(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fit]:
    """One run with many options at once."""
    root = tmp_path_factory.mktemp("optioned")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["dasc"])
        yield run(["fit", "--config", str(tiny), "--epochs_scale=0.5", f"--trainer.default_root_dir={root}", *OPTIONS])
    torch.use_deterministic_algorithms(False)
    torch.autograd.set_detect_anomaly(False)


def folder(command: Fit) -> Path:
    return command.root / "lightning_logs" / "version_0"


def table(command: Fit) -> list[dict[str, str]]:
    with (folder(command) / "stages.csv").open() as file:
        return list(csv.DictReader(file))


def logged(command: Fit) -> dict[str, list[int]]:
    events = EventAccumulator(str(folder(command)))
    events.Reload()
    return {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def has(command: Fit, kind: type) -> bool:
    return any(isinstance(callback, kind) for callback in command.trainer.callbacks)  # type: ignore[attr-defined]


def attribute(command: Fit, name: str) -> Any:
    return getattr(command.trainer, name)  # one that mypy does not find


def is_share(value: float, of: int) -> bool:
    return value * of == pytest.approx(round(value * of), abs=1e-3)


EFFECTS: dict[str, Callable[[Fit], bool]] = {
    "accelerator": lambda r: r.trainer.strategy.root_device.type == "cpu",
    "strategy": lambda r: type(r.trainer.strategy).__name__ == "SingleDeviceStrategy",
    "devices": lambda r: r.trainer.num_devices == 1,
    "num_nodes": lambda r: r.trainer.num_nodes == 1,
    "limit_train_batches": lambda r: r.trainer.num_training_batches == 3,
    "accumulate_grad_batches": lambda r: r.trainer.global_step == 3 * STEPS,
    "limit_val_batches": lambda r: all(is_share(float(row["val_accuracy_last"]), of=96) for row in table(r)),
    "log_every_n_steps": lambda r: len(logged(r)["lr-SGD"]) == 3 * STEPS // 2,
    "val_check_interval": lambda r: logged(r)["val/loss"] == [0, 1, 2],
    "check_val_every_n_epoch": lambda r: all(row["val_accuracy_last"] for row in table(r)),
    "gradient_clip_val": lambda r: 0 < Gradients.largest <= 0.01,
    "gradient_clip_algorithm": lambda r: Gradients.largest == pytest.approx(0.01),
    "deterministic": lambda r: torch.are_deterministic_algorithms_enabled(),
    "benchmark": lambda r: not torch.backends.cudnn.benchmark,
    "inference_mode": lambda r: Gradients.inference is False,
    "profiler": lambda r: len(attribute(r, "profiler").recorded_durations["run_training_batch"]) == 9,
    "detect_anomaly": lambda r: bool(r.trainer._detect_anomaly),
    "enable_progress_bar": lambda r: type(r.trainer.progress_bar_callback).__name__ == "StageProgressLines",
    "enable_model_summary": lambda r: has(r, ModelSummary),
    "plugins": lambda r: (
        type(r.trainer.strategy.cluster_environment).__name__ != "SLURMEnvironment"
        if hasattr(r.trainer.strategy, "cluster_environment")
        else True
    ),
    "callbacks": lambda r: has(r, LearningRateMonitor),
    "default_root_dir": lambda r: (folder(r) / "config.yaml").is_file(),
    "LearningRateMonitor": lambda r: "lr-SGD" in logged(r),
    "DeviceStatsMonitor": lambda r: any(tag.startswith("DeviceStatsMonitor") for tag in logged(r)),
    "ModelSummary": lambda r: has(r, ModelSummary),
}
"""What the run of `OPTIONS` shows of each."""


@pytest.mark.parametrize("name", EFFECTS)
def test_options_have_their_effect(name: str, optioned: Fit) -> None:
    assert EFFECTS[name](optioned)


NO_RESULT = {
    "num_sanity_val_steps": "2",
    "use_distributed_sampler": "true",
    "reload_dataloaders_every_n_epochs": "1",
    "enable_autolog_hparams": "false",
}
"""Options that change no result, with a value that is not the default."""


def test_options_that_change_no_result(tiny: Path, tmp_path: Path) -> None:
    args = ["fit", "--config", str(tiny), "--epochs_scale=0.5", "--trainer.limit_train_batches=2"]
    for root, options in ((tmp_path / "a", {}), (tmp_path / "b", NO_RESULT)):
        given = [f"--trainer.{name}={value}" for name, value in options.items()]
        main([*args, f"--trainer.default_root_dir={root}", *given])
    folders = [tmp_path / name / "lightning_logs" / "version_0" for name in "ab"]
    assert (folders[0] / "stages.csv").read_bytes() == (folders[1] / "stages.csv").read_bytes()
    states = [torch.load(f / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for f in folders]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])


ELSEWHERE = dict.fromkeys(NO_RESULT, "test_trainer_features.py::test_options_that_change_no_result") | {
    "min_epochs": "test_stopping.py::test_early_stopping_waits",
    "min_steps": "test_stopping.py::test_early_stopping_waits",
    "precision": "test_precision.py::test_a_run_in_every_precision_prunes_and_scores",
    "logger": "test_run_folders.py::test_a_run_resumes_in_its_folder_and_a_second_seed_has_another",
    "fast_dev_run": "test_run_folders.py::test_a_fast_dev_run_leaves_no_files",
    "max_time": "test_stopping.py::test_a_run_out_of_time_says_how_to_resume",
    "EarlyStopping": "test_stopping.py::test_early_stopping_within_an_epoch_records_whole_epochs_only",
    "limit_test_batches": "test_trainer_features.py::test_scoring_can_be_limited",
    "limit_predict_batches": "test_trainer_features.py::test_scoring_can_be_limited",
    "overfit_batches": "test_trainer_features.py::test_overfitting_trains_on_the_same_images_in_every_epoch",
    "enable_checkpointing": "test_trainer_features.py::test_without_checkpoints_none_is_written",
    "sync_batchnorm": "test_trainer_features.py::test_what_contradicts_the_table_is_refused_in_one_sentence",
    "ModelCheckpoint": "test_resume_epoch.py::test_a_run_resumed_within_an_epoch_ends_as_an_uninterrupted_one",
    "BasePredictionWriter": "test_trainer_features.py::test_a_prediction_writer_gets_all_predictions",
    "Callback": "test_trainer_features.py::test_callbacks_of_the_python_interface",
    "Checkpoint": "test_trainer_features.py::test_callbacks_of_the_python_interface",
    "LambdaCallback": "test_trainer_features.py::test_callbacks_of_the_python_interface",
    "ProgressBar": "test_trainer_features.py::test_callbacks_of_the_python_interface",
    "RichModelSummary": "test_trainer_features.py::test_callbacks_of_the_python_interface",
    "RichProgressBar": "test_trainer_features.py::test_callbacks_of_the_python_interface",
    "TQDMProgressBar": "test_trainer_features.py::test_callbacks_of_the_python_interface",
    "ThroughputMonitor": "test_trainer_features.py::test_throughput_is_measured",
}
"""Tests of the others."""


def test_every_name_has_a_test() -> None:
    status = documented("Trainer options") | documented("Callbacks")
    assert {name for name, said in status.items() if said == "refused"} == set(REFUSED)
    assert {name for name, said in status.items() if said == "works"} == set(EFFECTS) | set(ELSEWHERE)


def test_the_table_names_the_test_or_the_sentence_of_every_name() -> None:
    lines = {line.split("`")[1]: line for line in DOCS.read_text().splitlines() if line.startswith("| `")}
    for name, line in lines.items():
        if name in REFUSED:
            assert f"“{REFUSED[name][1]}”" in line
        else:
            path = ELSEWHERE.get(name, Path(__file__).name).partition("::")[0]
            assert f"(../tests/{path})" in line


@pytest.mark.parametrize("test", sorted(set(ELSEWHERE.values())))
def test_the_tests_that_are_named_exist(test: str) -> None:
    path, _, name = test.partition("::")
    tree = ast.parse((Path(__file__).parent / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_scoring_can_be_limited(optioned: Fit, tiny: Path, tmp_path: Path) -> None:
    path = folder(optioned) / "checkpoints" / "best.ckpt"
    base = ["--config", str(tiny), f"--ckpt_path={path}", "--data.eval_batch_size=100"]
    tested = run(["test", *base, "--trainer.limit_test_batches=1"])
    assert is_share(float(tested.trainer.callback_metrics["test/accuracy"]), of=90)
    assert tested.trainer.num_test_batches == [1]
    main(["predict", *base, "--trainer.limit_predict_batches=1"])
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 1 + 90


class Indices(Callback):
    seen: list[list[int]]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        type(self).seen = [] if trainer.current_epoch == 0 else self.seen
        self.seen.append([])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.seen[-1] += batch.indices.tolist()


@pytest.mark.filterwarnings("ignore:You requested to overfit")
def test_overfitting_trains_on_the_same_images_in_every_epoch(tiny: Path) -> None:
    args = ["--epochs_scale=0.5", f"--trainer.callbacks+={__name__}.Indices"]
    main(["fit", "--config", str(tiny), *args, "--trainer.overfit_batches=2"])
    first, second, third = Indices.seen
    assert len(set(first)) == 256
    assert first == second == third
    main(["fit", "--config", str(tiny), *args, "--trainer.limit_train_batches=2"])
    assert len({tuple(epoch) for epoch in Indices.seen}) == 3


def test_without_checkpoints_none_is_written(tiny: Path, tmp_path: Path) -> None:
    args = ["--epochs_scale=0.5", "--trainer.limit_train_batches=1", "--trainer.enable_checkpointing=false"]
    main(["fit", "--config", str(tiny), *args])
    assert not list(tmp_path.rglob("*.ckpt"))
    assert len((tmp_path / "lightning_logs" / "version_0" / "stages.csv").read_text().splitlines()) == 4


class Collected(BasePredictionWriter):
    def __init__(self) -> None:
        super().__init__("epoch")
        self.rows = 0

    def write_on_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, predictions: Any, batch_indices: Any
    ) -> None:
        self.rows = sum(len(batch) for batch in predictions)


def module(epochs: int = 2) -> Classifier:
    torch.manual_seed(0)
    return PrunedClassifier(CifarResNet(10, depth=8), Stages.parse([{"epochs": epochs}]))


@pytest.mark.filterwarnings("ignore:Couldn't infer the batch indices")
def test_a_prediction_writer_gets_all_predictions() -> None:
    writer = Collected()
    bare_trainer(callbacks=[writer]).predict(module(), datamodule=ImageData("digits"))
    assert writer.rows == 360


class CountingBar(ProgressBar):
    batches = 0

    def on_train_batch_end(self, *args: Any) -> None:
        self.batches += 1


class CountingCheckpoint(Checkpoint):
    epochs = 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert "train/loss" in trainer.callback_metrics  # checkpoints come after the module has logged
        self.epochs += 1


@pytest.mark.filterwarnings("ignore:Trying to infer the `batch_size`")
def test_callbacks_of_the_python_interface(capsys: pytest.CaptureFixture[str]) -> None:
    started: list[int] = []
    bar, checkpoint = CountingBar(), CountingCheckpoint()
    hook = LambdaCallback(on_train_epoch_start=lambda trainer, module: started.append(trainer.current_epoch))
    callbacks = [hook, checkpoint, bar, RichModelSummary()]
    settings: dict[str, Any] = {"max_epochs": 2, "limit_train_batches": 2, "enable_checkpointing": True}
    settings |= {"enable_progress_bar": True, "enable_model_summary": True}
    bare_trainer(callbacks=callbacks, **settings).fit(module(), datamodule=ImageData("digits"))
    assert (started, checkpoint.epochs, bar.batches) == ([0, 1], 2, 4)
    assert "CifarResNet" in capsys.readouterr().out
    for lightning_bar in (RichProgressBar(), TQDMProgressBar()):
        bare_trainer(callbacks=[lightning_bar], **settings | {"enable_checkpointing": False}).fit(
            module(), datamodule=ImageData("digits")
        )
        assert re.search(r"Epoch 1(/1|:)", capsys.readouterr().out)


@pytest.mark.filterwarnings("ignore:When using the `ThroughputMonitor`, you need to define a `flops_per_batch`")
def test_throughput_is_measured(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import CSVLogger

    logger = CSVLogger(tmp_path)
    monitor = ThroughputMonitor(batch_size_fn=lambda batch: len(batch.targets), window_size=2)
    trainer = bare_trainer(max_epochs=1, callbacks=[monitor], logger=logger, log_every_n_steps=1)
    trainer.fit(module(1), datamodule=ImageData("digits"))
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        samples = [float(row["train/samples"]) for row in csv.DictReader(file) if row["train/samples"]]
    assert samples[-1] == 8 * 128


@pytest.mark.parametrize("name", ["limit_train_batches", "limit_val_batches", "overfit_batches"])
def test_one_batch_is_not_all_batches(name: str, tiny: Path) -> None:
    read = ConfigReader().read(["--config", str(tiny), f"--trainer.{name}=1"])["trainer"][name]
    share = ConfigReader().read(["--config", str(tiny), f"--trainer.{name}=1.0"])["trainer"][name]
    assert (type(read), type(share)) == (int, float)
