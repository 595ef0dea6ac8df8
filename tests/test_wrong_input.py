"""What a user gets wrong is said in one sentence, with exit status 2, before anything is trained or written."""

import re
from pathlib import Path

import pytest
import torch

from dasc.cli import main
from tests.support.errors import exit_message
from tests.support.files import make_folder, truncate

TABLE = "--stages=[{epochs: 1}, {%s}]"
CASES = {
    "an unknown column": (TABLE % "epochs: 1, sparsty: 0.2", "stage 2: unknown column 'sparsty'", "sparsity?"),
    "an empty cell": (TABLE % "epochs: 1, magnitude: ", "stage 2: magnitude is empty: write 0..30, random, [a, b]"),
    "an empty table": ("--stages=[]", "the table of stages is empty"),
    "no epochs": (TABLE % "epochs: 0", "stage 2: epochs is 0"),
    "half an epoch": (TABLE % "epochs: 1.5", "stage 2: epochs is 1.5"),
    "nothing left": (TABLE % "epochs: 1, sparsity: 1.0", "stage 2: sparsity is 1.0"),
    "negative sparsity": (TABLE % "epochs: 1, sparsity: -0.1", "stage 2: sparsity is -0.1"),
    "falling sparsity": (
        "--stages=[{epochs: 1, sparsity: 0.4}, {epochs: 1}]",
        "stage 2: sparsity 0.0 is below the 0.4",
    ),
    "M over 30": (TABLE % "epochs: 1, magnitude: 31", "stage 2: magnitude is 31: write 0..30"),
    "M under 0": (TABLE % "epochs: 1, magnitude: -1", "stage 2: magnitude is -1"),
    "M between bins": (TABLE % "epochs: 1, magnitude: 14.5", "stage 2: magnitude is 14.5"),
    "M as a word": (TABLE % "epochs: 1, magnitude: strong", "stage 2: magnitude is strong"),
    "one row by its place": ("--stages.0.epochs=3", "rows are not changed one by one"),
    "another length": ("--trainer.max_epochs=3", "trainer.max_epochs is 3, but the stages have 6 epochs"),
    "no scale": ("--epochs_scale=0", "epochs_scale is 0.0"),
    "M beside the table": ("--data.magnitude=3", "write it in the column magnitude"),
    "an unknown data set": ("--data.dataset=digit", "unknown data set 'digit': did you mean digits?"),
    "an unknown module": (
        "--model=PrunedClasifier",
        "unknown class 'PrunedClasifier' for model: did you mean PrunedClass",
    ),
    "an unknown network": (
        "--model.network=CifarResNett",
        "unknown class 'CifarResNett' for model.network: did you mean CifarResNet",
    ),
    "an unknown key": (
        "--data.batch_sise=3",
        "unknown option '--data.batch_sise' of ImageData: did you mean --data.batch_size",
    ),
    "a module that does not prune": ("--model=Classifier", "does not prune: set model to PrunedClassifier"),
    "rising blocks": (TABLE % "epochs: 1, auxiliary: 2", "stage 2: auxiliary 2 is over the 0 of the stage before it"),
    "half a block": ("--stages=[{epochs: 1, auxiliary: 1.5}]", "stage 1: auxiliary is 1.5: write a whole number"),
    "negative blocks": ("--stages=[{epochs: 1, auxiliary: -1}]", "stage 1: auxiliary is -1: write a whole number"),
    "a network without a place for blocks": (
        "--stages=[{epochs: 1, auxiliary: 2}] --model.network=TorchvisionNetwork --model.network.name=squeezenet1_1",
        "no place for auxiliary blocks in squeezenet1_1",
        "the method `auxiliary_place(self) -> dasc.networks.AuxiliaryPlace`",
    ),
    "no scale of blocks": ("--auxiliary_scale=0", "auxiliary_scale is 0.0: write a number over 0"),
    "a width that is none": (
        "--model.network=CifarShuffleNetV2 --model.network.width=x3",
        "model.network.width must be ",
        "got 'x3'",
    ),
    "recalibration backwards": ("--model.recalibrate=-1", "recalibrate is -1: write a number of batches"),
    "a start from nowhere": ("--init_from.load=masks", "init_from.path is missing: give the checkpoint"),
    "a depth that is not 6n+2": ("--model.network.depth=21", "depth 21 is not 6n + 2"),
    "a layer to skip that is not there": ("--model.skip=[conv9]", "skip names 'conv9'"),
    "a batch larger than the training set": ("--data.batch_size=2000", "over the 1149 training images"),
    "a batch that cannot be shared": ("--trainer.devices=3", "batch_size 128 cannot be shared by 3 processes"),
    "a missing checkpoint": ("--ckpt_path=nowhere.ckpt", "there is no checkpoint nowhere.ckpt"),
    "a missing checkpoint to start from": ("--init_from.path=nowhere.ckpt", "there is no checkpoint nowhere.ckpt"),
    "a truncated checkpoint": ("--ckpt_path=truncated.ckpt", "may be truncated"),
    "a checkpoint of no dasc run": ("--ckpt_path=foreign.ckpt", "not a checkpoint of a dasc run"),
    "a hole larger than the image": ("--data.cutout=16", "data.cutout must be <= 8 (the image size), got 16"),
    "a shift larger than the image": ("--data.translate=10", "data.translate must be <= 8 (the image size), got 10"),
    "a folder that is missing": ("--data.dataset=folder --data.root=nowhere", "there is no folder nowhere/train"),
    "a folder that is empty": ("--data.dataset=folder --data.root=empty", "empty/train has no class folders"),
    "a class that train lacks": ("--data.dataset=folder --data.root=strange", "val has a class 'emu' that", "lacks"),
    "a file that is no image": (
        "--data.dataset=folder --data.root=broken --data.batch_size=4",
        "broken/train/cat/002.png cannot be read as an image",
    ),
    "a data set that is not there": (
        "--data.dataset=cifar10",
        "set data.root to where it lies, or data.download to true",
    ),
    "a training set larger than there is": ("--data.train_size=5000", "train_size is 5000, there are 1149"),
    "another network's name": (
        "--model.network=TorchvisionNetwork --model.network.name=mobilenetv2",
        "unknown torchvision network 'mobilenetv2': did you mean mobilenet_v2",
    ),
    "a network with two outputs": (
        "--model.network=TorchvisionNetwork --model.network.name=inception_v3",
        "model.network.name must be a network with one output, got 'inception_v3'",
    ),
    "a folder as the name of a data set": (
        "--data.dataset=broken",
        "got the folder broken: write --data.dataset folder --data.root broken",
    ),
    "a data set of one's own": (
        "--data.dataset=my_photos",
        "unknown data set 'my_photos'",
        "write --data.dataset folder --data.root FOLDER",
    ),
    "a folder without a run as checkpoint": ("--ckpt_path=empty", "no run in empty has a checkpoint 'last'"),
    "a missing config": ("--config=nowhere.yaml", "the config file nowhere.yaml does not exist: check the path"),
}


STUDENT = {
    "a missing teacher": ("--model.teacher.path=nowhere.ckpt", "there is no checkpoint nowhere.ckpt"),
    "a truncated teacher": ("--model.teacher.path=truncated.ckpt", "may be truncated"),
    "a teacher that is no state_dict": ("--model.teacher.path=strange.pt", "strange.pt is no state_dict"),
    "a teacher of another architecture": (
        "--model.teacher.network_args={depth: 20}",
        "are of another network than teacher.network",
    ),
    "a teacher of other classes": (
        "--data.dataset=folder --data.root=two --data.batch_size=4 "
        "--model.teacher.network_args={depth: 14, num_classes: 10}",
        "has 10 classes, the data 2: use a teacher of the same classes",
    ),
    "weights that torchvision has not": (
        "--model.teacher.path= --model.teacher.weights=ResNet50_Weights.IMAGENET1K_V9",
        "unknown weights of torchvision 'ResNet50_Weights.IMAGENET1K_V9': did you mean ResNet50_Weights.IMAGENET1K_V",
    ),
    "no teacher": ("--model.teacher.path=", "teacher is not given: write teacher.path"),
    "alpha 0": ("--model.alpha=0", "alpha is 0.0: write a number over 0, at most 1"),
    "alpha over 1": ("--model.alpha=1.5", "alpha is 1.5: write a number over 0, at most 1"),
    "no temperature": ("--model.temperature=0", "temperature is 0.0: write a number over 0"),
    "one view": ("--model.selection.views=1", "selection.views is 1: write at least 2"),
    "both weights 0": (
        "--model.selection={ce_weight: 0, kl_weight: 0}",
        "selection.ce_weight and kl_weight are both 0",
    ),
    "mixed images to choose from": ("--data.mix=mixup", "gives images two: set one of them to none"),
    "views that are the same": ("--stages=[{epochs: 1}]", "stage 1 has magnitude none"),
}


@pytest.mark.parametrize(("wrong", "said"), STUDENT.values(), ids=list(STUDENT))
def test_a_mistake_about_a_teacher_is_one_sentence(
    wrong: str, said: str, distilling: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save([1], tmp_path / "strange.pt")
    torch.save({"a": torch.zeros(9)}, tmp_path / "foreign.ckpt")
    (tmp_path / "truncated.ckpt").write_bytes((tmp_path / "foreign.ckpt").read_bytes()[:300])
    make_folder(tmp_path / "two", {"train": {"cat": 20, "dog": 20}})
    assert said in exit_message(["fit", "--config", str(distilling), *re.split(" (?=--)", wrong)], capsys)
    assert not (tmp_path / "lightning_logs").exists()


@pytest.mark.parametrize(("wrong", "parts"), [(case[0], case[1:]) for case in CASES.values()], ids=list(CASES))
def test_a_mistake_is_one_sentence(
    wrong: str, parts: tuple[str, ...], tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"a": torch.zeros(9)}, tmp_path / "foreign.ckpt")
    (tmp_path / "truncated.ckpt").write_bytes((tmp_path / "foreign.ckpt").read_bytes()[:300])
    (tmp_path / "empty" / "train").mkdir(parents=True)
    make_folder(tmp_path / "strange", {"train": {"cat": 2, "dog": 2}, "val": {"cat": 1, "emu": 1}})
    make_folder(tmp_path / "broken", {"train": {"cat": 20, "dog": 20}})
    truncate(tmp_path / "broken" / "train" / "cat" / "002.png")
    said = exit_message(["fit", "--config", str(tiny), *re.split(" (?=--)", wrong)], capsys)
    assert said.startswith("dasc fit: ")
    assert all(part in said for part in parts), said
    assert not (tmp_path / "lightning_logs").exists()


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_evaluation_asks_for_a_checkpoint(command: str, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--ckpt_path is missing" in exit_message([command, "--config", str(tiny)], capsys)
    assert "has a checkpoint 'best'" in exit_message([command, "--config", str(tiny), "--ckpt_path=best"], capsys)
    assert "no run in . has a checkpoint 'best'" in exit_message(
        [command, "--config", str(tiny), "--ckpt_path=."], capsys
    )


def test_a_fit_without_a_table_asks_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert "stages is missing" in exit_message(["fit"], capsys)


def test_an_unknown_command_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    said = exit_message(["prune"], capsys)
    assert said.startswith("dasc: ")
    assert all(name in said for name in ("fit", "validate", "test", "predict"))


def test_a_continued_run_must_be_the_recorded_one(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", "--config", str(tiny), "--epochs_scale=0.5", "--trainer.limit_train_batches=1"])
    base = ["fit", "--config", str(tiny), "--epochs_scale=0.5"]
    path = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "stage-2.ckpt"
    changes = {
        "--model.network.depth=14": "network.init_args.depth is 14, recorded is 8",
        "--model.optimizer.lr=0.2": "recipe.optimizer.lr is 0.2, recorded is 0.1",
        "--model.scope=global": "recipe.scope is global, recorded is layer",
        "--data.batch_size=64": "data.batch_size is 64, recorded is 128",
        "--seed_everything=5": "seed is 5, recorded is 0",
        "--epochs_scale=1.0": "row 1 of stages is",
    }
    for change, said in changes.items():
        assert said in exit_message([*base, f"--ckpt_path={path}", change], capsys)
    assert not (tmp_path / "lightning_logs" / "version_1").exists()


def test_a_checkpoint_of_another_network_cannot_be_tested(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", "--config", str(tiny), "--epochs_scale=0.5", "--trainer.limit_train_batches=1"])
    path = tmp_path / "lightning_logs" / "version_0" / "checkpoints" / "best.ckpt"
    command = ["test", "--config", str(tiny), f"--ckpt_path={path}", "--model.network.depth=14"]
    assert "of another network" in exit_message(command, capsys)
