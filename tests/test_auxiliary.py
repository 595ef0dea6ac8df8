"""The command on a table with auxiliary blocks: what comes out before and after they are dropped."""

import csv
from pathlib import Path

import pytest
import torch

from dasc.checkpoint import load_network
from dasc.cli import main
from dasc.data import ImageData
from dasc.modules import Classifier
from dasc.networks import CifarMobileNetV2, CifarResNet, CifarShuffleNetV2, auxiliary_blocks
from dasc.stages import Stages
from tests.support.command import dasc
from tests.support.training import bare_trainer

CONFIGS = Path(__file__).parents[1] / "configs"
PLAIN = {"resnet20": CifarResNet, "mobilenet_v2": CifarMobileNetV2, "shufflenet_v2": CifarShuffleNetV2}
QUICK = ("--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.enable_progress_bar=false")


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(shrinking: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    done = dasc(*("fit", "--config", shrinking, "--trainer.default_root_dir", root, "--trainer.limit_train_batches", 2))
    assert done.returncode == 0, done.stderr
    return root / "lightning_logs" / "version_0"


def test_the_table_of_a_run_says_what_was_in_the_network(run: Path) -> None:
    rows = read(run / "stages.csv")
    assert [row["auxiliary"] for row in rows] == ["2", "1", "0"]
    assert [row["layers"] for row in rows] == ["12", "10", "8"]
    convolutions = 9 * (3 * 16 + 2 * 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
    plain = convolutions + 2 * (16 + 2 * 16 + 2 * 32 + 2 * 64) + 64 * 10 + 10
    block = 2 * (9 * 64 * 64 + 2 * 64)
    assert [int(row["parameters"]) for row in rows] == [plain + 2 * block, plain + block, plain]


@pytest.mark.parametrize(("name", "blocks"), [("stage-1", 2), ("stage-2-best", 1), ("stage-3", 0), ("last", 0)])
def test_checkpoints_from_before_and_after_a_drop_are_scored(
    name: str, blocks: int, run: Path, shrinking: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "checkpoints" / f"{name}.ckpt"
    network, masks, meta = load_network(path)
    assert auxiliary_blocks(network) == meta["auxiliary"] == blocks
    assert {name: mask.shape for name, mask in masks.items()} == {
        name: network.get_parameter(name).shape for name in masks
    }
    main(["test", "--config", str(shrinking), f"--ckpt_path={path}", "--trainer.enable_progress_bar=false"])
    assert "\n  accuracy " in capsys.readouterr().out
    # a table that never had blocks scores it too
    table = "--stages=[{epochs: 1}]"
    main(["predict", "--config", str(shrinking), table, f"--ckpt_path={path}", "--trainer.enable_progress_bar=false"])
    assert len(read(Path("predictions.csv"))) == 360


def test_a_report_scores_a_teacher_with_the_blocks_it_has(run: Path, shrinking: Path) -> None:
    path, root = run / "checkpoints" / "stage-1.ckpt", Path("report")
    quiet = (*QUICK, f"--trainer.default_root_dir={root}")
    main(["teacher-report", "--config", str(shrinking), "--teachers", str(path), *quiet])
    (reported,) = read(root / "teachers.csv")
    network, _, _ = load_network(path)
    data = ImageData(batch_size=128)
    module = Classifier(network, Stages.parse([{"epochs": 1, "auxiliary": 2}]))
    (tested,) = bare_trainer().test(module, datamodule=data, verbose=False)
    assert float(reported["nll"]) == pytest.approx(tested["test/nll"], rel=1e-6)


@pytest.mark.parametrize("load", ["weights", "masks", "both"])
def test_a_run_starts_from_a_checkpoint_with_as_many_blocks(load: str, run: Path, shrinking: Path) -> None:
    start = [f"--init_from.path={run / 'checkpoints' / 'stage-2.ckpt'}", f"--init_from.load={load}"]
    table = "--stages=[{epochs: 1, sparsity: 0.3, auxiliary: 1}, {epochs: 1, sparsity: 0.3}]"
    main(["fit", "--config", str(shrinking), table, *start, "--trainer.limit_train_batches=1"])
    assert auxiliary_blocks(load_network("lightning_logs/version_0/checkpoints/stage-1.ckpt").network) == 1
    assert auxiliary_blocks(load_network("lightning_logs/version_0/checkpoints/last.ckpt").network) == 0


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("stage-1", "epochs: 1", "has 2 auxiliary blocks, the first row of stages asks for none: write auxiliary: 2"),
        ("last", "epochs: 1, auxiliary: 1", "has no auxiliary blocks, the first row of stages asks for 1: write"),
    ],
)
def test_a_start_with_other_blocks_is_refused(
    name: str, row: str, said: str, run: Path, shrinking: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(
            [
                *("fit", "--config", str(shrinking), f"--stages=[{{{row}}}]"),
                f"--init_from.path={run / 'checkpoints' / name}.ckpt",
            ]
        )
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
    assert not Path("lightning_logs").exists()


@pytest.mark.parametrize("name", PLAIN)
def test_the_scheme_of_fig_6_ends_in_the_plain_network(name: str) -> None:
    overlays = (f"network/{name}", "data/digits", "scale/smoke")
    files = [word for overlay in overlays for word in ("--config", str(CONFIGS / f"{overlay}.yaml"))]
    short = ("--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "--data.eval_batch_size=64")
    main(["fit", "--config", str(CONFIGS / "paper/fig6_inheriting.yaml"), *files, *QUICK, *short])
    loaded = load_network("lightning_logs/version_0/checkpoints/last.ckpt").network
    before = load_network("lightning_logs/version_0/checkpoints/stage-1.ckpt").network
    assert auxiliary_blocks(before) == (10 if name == "resnet20" else 3)
    plain = PLAIN[name](10).eval()
    state = torch.load("lightning_logs/version_0/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    plain.load_state_dict({k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")})
    images = torch.randn(8, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(plain(images), loaded(images))
