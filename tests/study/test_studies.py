"""Every study of configs/studies/ runs, on tiny data and with few of its runs."""

import itertools
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

import pytest
import torch
import yaml

from dasc.checkpoint import load_network
from dasc.cli import main
from dasc.data import ImageData
from dasc.study import entry
from dasc.study.execution.runners import RUNNERS
from dasc.study.execution.runners.runner import Runner, Work
from dasc.study.execution.work import train_and_score
from dasc.study.folders import CONFIG, RESULT, run_folder, write_json
from dasc.study.plan import Run
from dasc.study.specification.file import read_study
from tests.support.files import accept_made_files, make_cifar, make_folder, make_imagenet
from tests.support.results import read_results
from tests.support.studies import few
from tests.support.training import bare_trainer

STUDIES = Path(__file__).parents[2] / "configs" / "studies"
FILES = sorted(STUDIES.rglob("*.yaml"))

MAKERS: dict[str, Callable[[Path], Any]] = {
    "smoke": lambda root: None,  # the digits ship with scikit-learn
    "small": lambda root: make_folder(root, {"train": {"cat": 40, "dog": 40}, "test": {"cat": 4, "dog": 4}}),
    "medium": lambda root: make_folder(root, {"train": {"cat": 40, "dog": 40}, "test": {"cat": 4, "dog": 4}}),
    "studies": lambda root: [make_cifar(root, classes, train=10, test=1) for classes in (10, 100)],
    "fig2": lambda root: make_imagenet(root, train=20, test=2),
}

QUICK = {
    "data.batch_size": 16,
    "data.eval_batch_size": 64,
    "data.image_size": 16,
    "data.train_size": "null",
    "epochs_scale": 0.001,
    "trainer.accelerator": "cpu",
    "trainer.check_val_every_n_epoch": 1,
    "trainer.devices": 1,
    "trainer.limit_train_batches": 2,
    "trainer.limit_val_batches": 1,
    "trainer.precision": "32-true",
}
LARGE = {"data.image_size": 32, "data.on_device": "false", "data.num_workers": 0}


class Here(Runner):
    """Carries out orders in this process, where a test may have put other files under torchvision's names."""

    slots = 1

    def __init__(self, work: Work) -> None:
        self._results = work.results

    @classmethod
    def make(cls, given: Any, work: Work) -> Self:
        return cls(work)

    def submit(self, run: Run) -> "Future[str | None]":
        future: Future[str | None] = Future()
        write_json(run_folder(self._results, run.id) / RESULT, train_and_score(run, self._results))
        future.set_result(None)
        return future

    def stop(self) -> None: ...


def test_there_is_a_study_of_each_figure_at_both_lengths() -> None:
    names = {"channels", "fig1", "fig2", "fig3", "fig4", "fig6", "fig7", "ablation", "das"}
    assert (
        names == {path.stem for path in STUDIES.glob("*.yaml")} == {path.stem for path in STUDIES.glob("smoke/*.yaml")}
    )


def count_correct(run: Path, stage: int) -> tuple[int, int]:
    """Return how many test images the network of a stage's checkpoint classifies correctly, and how many there are."""
    (path,) = run.glob(f"lightning_logs/version_0/checkpoints/stage-{stage}.ckpt")
    network = load_network(path).network.eval()
    data = ImageData(**yaml.safe_load((run / CONFIG).read_text())["data"]["init_args"])
    data.trainer = bare_trainer()
    data.setup("test")
    correct, images = 0, 0
    for batch in data.test_dataloader():
        with torch.no_grad():
            guess = network(data.pipeline.normalise(batch.images)).argmax(1)
        correct, images = correct + int((guess == batch.targets).sum()), images + len(guess)
    return correct, images


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_study_runs_and_scores_the_networks_of_its_checkpoints(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    accept_made_files(monkeypatch)
    large = path.stem == "fig2" and path.parent == STUDIES
    MAKERS["fig2" if large else path.parent.name](tmp_path / "data")
    monkeypatch.setattr(entry, "read_study", lambda given: few(read_study(given)))
    monkeypatch.setitem(RUNNERS, "local", Here)
    settings = QUICK | (LARGE if large else {}) | {"data.root": tmp_path / "data"}
    main(["study", "run", str(path), "--results=out", *(f"--{key}={value}" for key, value in settings.items())])
    rows = read_results(Path("out/results.csv"))
    study = few(read_study(path))
    combinations = list(itertools.product(*study.grid.axes.values()))
    assert len({row["run"] for row in rows if row["part"] == "study"}) == len(combinations) - len(study.exclude)
    for row in [row for row in rows if row["final"]][-2:]:
        correct, images = count_correct(Path("out/runs", row["run"]), row["stage"])
        assert row["test_accuracy"] == pytest.approx(correct / images, abs=1e-6)
    assert Path("out/figure.svg").exists()
    assert Path("out/figure.png").exists()
    for config in Path("out").glob(f"runs/*/{CONFIG}"):  # each is what `dasc fit` takes, and names its own folder
        assert yaml.safe_load(config.read_text())["trainer"]["default_root_dir"] == str(config.parent)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_study_says_what_it_is_and_how_it_is_run(path: Path) -> None:
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert header[-1].startswith(f"# dasc study run configs/studies/{path.relative_to(STUDIES)}")
    if path.parent == STUDIES:
        assert any("Not run at full length here" in line for line in header)
        assert any(paper in header[0] for paper in ("Yu, Zhang, Ma 2023", "Das et al. 2020"))
