import copy
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from dasc import checkpoint
from dasc.callbacks import L1Pruning
from dasc.data import DATASETS, ImageData
from dasc.errors import UserError
from dasc.modules import Classifier, PrunedClassifier, trainer_settings
from dasc.networks import CifarResNet
from dasc.stages import Stages
from tests.support.errors import user_error
from tests.support.training import bare_trainer

TABLE: list[dict[str, Any]] = [
    {"epochs": 1, "magnitude": [9, 3]},
    {"epochs": 1, "sparsity": 0.5, "lr": 0.05},
    {"epochs": 2, "sparsity": 0.8, "magnitude": "random"},
]


class Save(Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.path)


def fit(module: Classifier, epochs: int, path: Path) -> None:
    pruning = [L1Pruning(module.stages)] if isinstance(module, PrunedClassifier) else []
    trainer = bare_trainer(
        max_epochs=epochs,
        limit_train_batches=2,
        limit_val_batches=0,
        callbacks=[*pruning, Save(path)],
    )
    trainer.fit(module, datamodule=ImageData("digits", batch_size=128))


class Saved(NamedTuple):
    path: Path
    network: nn.Module
    masks: dict[str, Tensor]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    torch.manual_seed(0)
    network = CifarResNet(10, depth=8, shortcut="B")
    module = PrunedClassifier(network, Stages.parse(TABLE), skip=["conv1"])
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    fit(module, 2, path)
    return Saved(path, network.eval(), module.masks.by_name())


def test_a_checkpoint_rebuilds_the_network_with_equal_outputs_and_its_masks(saved: Saved) -> None:
    loaded = checkpoint.load_network(saved.path)
    images = torch.randn(16, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded.network(images), saved.network(images))
    assert not loaded.network.training
    assert list(loaded.masks) == list(saved.masks)
    for name, mask in saved.masks.items():
        assert loaded.masks[name].dtype == torch.bool
        assert torch.equal(loaded.masks[name], mask)
        assert torch.equal(loaded.network.get_parameter(name) != 0, mask)
    assert sum(int((~mask).sum()) for mask in loaded.masks.values()) > 30_000


def test_a_classifiers_checkpoint_has_no_masks(tmp_path: Path) -> None:
    module = Classifier(CifarResNet(10, depth=8), Stages.parse([{"epochs": 1}]))
    fit(module, 1, tmp_path / "last.ckpt")
    loaded = checkpoint.load_network(tmp_path / "last.ckpt")
    assert loaded.masks == {}
    assert torch.equal(loaded.network.get_parameter("fc.weight"), module.network.get_parameter("fc.weight"))


def test_a_checkpoint_says_what_its_run_was(saved: Saved) -> None:
    meta = checkpoint.load_network(saved.path).meta
    assert meta["format"] == 2
    assert meta["network"] == {
        "class_path": "dasc.networks.resnet.CifarResNet",
        "init_args": {"num_classes": 10, "depth": 8, "shortcut": "B"},
    }
    assert meta["classes"] == list("0123456789")
    assert meta["image_size"] == [8, 8]
    assert (meta["mean"], meta["std"]) == (list(DATASETS["digits"].mean), list(DATASETS["digits"].std))
    assert meta["stages"] == TABLE
    assert (meta["epoch"], meta["stage"], meta["seed"]) == (1, 1, 0)
    assert meta["recipe"]["skip"] == ["conv1"]
    assert (meta["epoch"], meta["epochs_done"]) == (1, 2)


def kinds(value: Any) -> set[type]:
    if type(value) is dict:
        return {dict}.union(*map(kinds, value.keys()), *map(kinds, value.values()))
    if type(value) is list:
        return {list}.union(*map(kinds, value))
    return {type(value)}


def test_the_file_loads_with_weights_only_and_its_meta_is_plain_data(saved: Saved) -> None:
    loaded = torch.load(saved.path, weights_only=True)
    assert kinds(loaded["dasc"]) <= {dict, list, str, int, float, bool, type(None)}
    names = [f"network.{name}" for name in saved.network.state_dict()] + [f"masks.{name}" for name in saved.masks]
    assert list(loaded["state_dict"]) == names


def changed(saved: Saved, path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    content = torch.load(saved.path, weights_only=True)
    change(content)
    torch.save(content, path)
    return path


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.ckpt"
    assert user_error(checkpoint.read, path) == f"there is no checkpoint {path}: check the path"
    assert user_error(checkpoint.read, tmp_path) == f"there is no checkpoint {tmp_path}: check the path"


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.99])
def test_a_truncated_file_is_named(saved: Saved, tmp_path: Path, share: float) -> None:
    content, path = saved.path.read_bytes(), tmp_path / "cut.ckpt"
    path.write_bytes(content[: int(share * len(content))])
    message = user_error(checkpoint.read, path)
    assert message.startswith(f"{path} cannot be read as a checkpoint, it may be truncated (")
    assert message.endswith("use another file")


@pytest.mark.parametrize(
    "content", [b"stages:\n  - {epochs: 1}\n", b"stage,epochs\n1,2\n", b"\x89PNG\r\n\x1a\n....", b".."]
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    assert str(path) in user_error(checkpoint.read, path)


@pytest.mark.parametrize("content", [{"state_dict": {"w": torch.zeros(2)}}, torch.zeros(3), [1, 2]])
def test_a_file_that_is_not_of_dasc_is_named(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "other.ckpt"
    torch.save(content, path)
    assert user_error(checkpoint.read, path) == (
        f"{path} is not a checkpoint of a dasc run: use a file from its checkpoints/ folder"
    )


def test_a_file_with_objects_in_it_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "object.ckpt"
    torch.save({"dasc": {"format": 1}, "object": nn.Linear(2, 2)}, path)
    assert f"{path} cannot be read as a checkpoint" in user_error(checkpoint.read, path)


def test_another_format_is_named_with_the_one_that_is_read(saved: Saved, tmp_path: Path) -> None:
    path = changed(saved, tmp_path / "new.ckpt", lambda content: content["dasc"].update(format=99))
    assert user_error(checkpoint.read, path) == (
        f"checkpoint format must be one of 1, 2, got 99 in {path}: use the version of dasc that wrote it"
    )


def test_a_checkpoint_of_format_1_is_read_and_not_resumed(saved: Saved, tmp_path: Path) -> None:
    def make_old(content: dict[str, Any]) -> None:
        content["dasc"]["format"] = 1
        for name in ("trainer", "checksum", "weights"):
            content["dasc"].pop(name, None)
        content["dasc"]["recipe"].pop("averaging")

    path = changed(saved, tmp_path / "old.ckpt", make_old)
    loaded = checkpoint.load_network(path)
    assert all(torch.equal(a, b) for a, b in zip(loaded.network.parameters(), saved.network.parameters(), strict=True))
    with pytest.raises(UserError, match="a checkpoint of format 1 cannot be resumed"):
        checkpoint.check_continues(checkpoint.read(path)["dasc"], describes(TABLE))


def test_weights_that_do_not_fit_their_own_network_are_named(saved: Saved, tmp_path: Path) -> None:
    path = changed(saved, tmp_path / "odd.ckpt", lambda content: content["state_dict"].pop("network.fc.bias"))
    message = user_error(checkpoint.load_network, path)
    assert message.startswith(f"the weights in {path} do not fit its own network (")


def put(keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(meta: dict[str, Any]) -> None:
        *above, last = [int(key) if key.isdigit() else key for key in keys.split(".")]
        here: Any = meta
        for key in above:
            here = here[key]
        here[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("network.init_args.depth", 20), "network.init_args.depth is 20, recorded is 8"),
        (put("data.batch_size", 64), "data.batch_size is 64, recorded is 128"),
        (put("data.split_seed", 1), "data.split_seed is 1, recorded is 0"),
        (put("recipe.optimizer.lr", 0.2), "recipe.optimizer.lr is 0.2, recorded is 0.1"),
        (put("recipe.module", "Classifier"), "recipe.module is Classifier, recorded is PrunedClassifier"),
        (put("recipe.new", 1), "recipe.new is 1, recorded is None"),
        (put("seed", 5), "seed is 5, recorded is 0"),
        (put("stages.0.epochs", 3), "row 1 of stages is {'epochs': 3, 'magnitude': [9, 3]}, recorded is {'epochs': 1,"),
        (put("stages.1.sparsity", 0.4), "row 2 of stages is {'epochs': 1, 'sparsity': 0.4, 'lr': 0.05}, recorded is"),
        (lambda meta: meta.update(stages=TABLE[:1]), "row 2 of stages is missing, recorded is {'epochs': 1,"),
    ],
)
def test_a_run_that_differs_cannot_continue_and_is_told_where(
    saved: Saved, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    recorded = checkpoint.read(saved.path)["dasc"]
    current = copy.deepcopy(recorded)
    change(current)
    with pytest.raises(UserError) as raised:
        checkpoint.check_continues(recorded, current)
    assert str(raised.value).startswith(f"this run cannot continue that checkpoint: {message}")
    assert str(raised.value).count("recorded is") == 1


def test_every_difference_is_told(saved: Saved) -> None:
    recorded = checkpoint.read(saved.path)["dasc"]
    current = copy.deepcopy(recorded)
    for change in (put("seed", 5), put("data.batch_size", 64), put("stages.0.epochs", 3)):
        change(current)
    with pytest.raises(UserError) as raised:
        checkpoint.check_continues(recorded, current)
    assert [name in str(raised.value) for name in ("seed", "data.batch_size", "row 1")] == [True] * 3


def describes(table: list[dict[str, Any]], **settings: Any) -> dict[str, Any]:
    network = CifarResNet(10, depth=8, shortcut="B")
    module = PrunedClassifier(network, Stages.parse(table), skip=["conv1"], **settings)
    trainer = trainer_settings(Namespace(limit_train_batches=2))
    return module.describe() | {"data": ImageData("digits", batch_size=128).describe(), "trainer": trainer}


@pytest.mark.parametrize(
    "table",
    [
        TABLE,
        TABLE[:2],
        [*TABLE[:2], {"epochs": 7, "sparsity": 0.6}],
        [*TABLE, {"epochs": 1, "sparsity": 0.9}],
    ],
)
def test_rows_that_have_not_begun_may_change_be_dropped_or_be_appended(
    saved: Saved, table: list[dict[str, Any]]
) -> None:
    recorded = checkpoint.read(saved.path)["dasc"]
    current = describes(table)
    assert checkpoint.check_continues(recorded, current) is None  # type: ignore[func-returns-value]
    begun = describes([TABLE[0] | {"epochs": 9}, *table[1:]])
    with pytest.raises(UserError, match="row 1 of stages"):
        checkpoint.check_continues(recorded, begun)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"label_smoothing": 0.1}, "recipe.label_smoothing is 0.1, recorded is 0.0"),
        ({"scope": "global"}, "recipe.scope is global, recorded is layer"),
        ({"optimizer": lambda p: torch.optim.AdamW(p, lr=0.1)}, "recipe.optimizer.class is AdamW, recorded is SGD"),
    ],
)
def test_another_recipe_of_a_module_cannot_continue(saved: Saved, settings: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError) as raised:
        checkpoint.check_continues(checkpoint.read(saved.path)["dasc"], describes(TABLE, **settings))
    assert key in str(raised.value)


def test_an_optimizers_pairs_and_tensors_are_recorded_as_plain_data() -> None:
    made = describes(TABLE, optimizer=lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.25), betas=(0.8, 0.95)))
    assert kinds(made) <= {dict, list, str, int, float, bool, type(None)}
    assert made["recipe"]["optimizer"]["betas"] == [0.8, 0.95]
    assert made["recipe"]["optimizer"]["lr"] == 0.25
