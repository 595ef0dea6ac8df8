"""Training through stages with fewer channels: order at a boundary, momentum, masks, averages, and other features."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from dasc.callbacks import DropAuxiliaryLayers, L1Pruning, RemoveChannels, WeightEMA
from dasc.callbacks.columns import column_callbacks
from dasc.data import ImageData
from dasc.errors import UserError
from dasc.modules import Classifier, PrunedClassifier
from dasc.networks import CifarResNet, auxiliary_blocks
from dasc.pruning.channels import ChannelL1, removed_share, select_channels
from dasc.stages import Stages, lr_at
from tests.support.channels import shapes
from tests.support.training import bare_trainer

TABLE: list[dict[str, Any]] = [
    {"epochs": 2, "sparsity": 0.2, "auxiliary": 1},
    {"epochs": 1, "sparsity": 0.5, "channels": 0.5},
    {"epochs": 1, "sparsity": 0.5, "channels": 0.75},
]


def make(rows: list[dict[str, Any]] = TABLE, **settings: Any) -> PrunedClassifier:
    torch.manual_seed(0)
    return PrunedClassifier(CifarResNet(10, depth=8), Stages.parse(rows), **settings)


def fit(module: PrunedClassifier, *callbacks: Callback, **settings: Any) -> Trainer:
    base: dict[str, Any] = {"max_epochs": module.stages.total_epochs, "limit_train_batches": 2, "limit_val_batches": 0}
    run = bare_trainer(**base | {"callbacks": list(callbacks)} | settings)
    run.fit(module, datamodule=ImageData("digits", batch_size=128))
    return run


class Watch(Callback):
    """Keeps what the starts of epochs find."""

    def __init__(self) -> None:
        self.networks: list[CifarResNet] = []
        self.masks: list[dict[str, Tensor]] = []
        self.momentum: list[dict[str, Tensor]] = []
        self.held: list[int] = []
        self.lr: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, PrunedClassifier)
        assert isinstance(pl_module.network, CifarResNet)
        optimizer = trainer.optimizers[0]
        self.networks.append(copy.deepcopy(pl_module.network))
        self.masks.append({name: mask.clone() for name, mask in pl_module.masks.by_name().items()})
        named = {name: p for name, p in pl_module.network.named_parameters() if p in optimizer.state}
        self.momentum.append({name: optimizer.state[p]["momentum_buffer"].clone() for name, p in named.items()})
        self.held.append(len(optimizer.state))
        self.lr.append(optimizer.param_groups[0]["lr"])


def test_blocks_are_dropped_then_channels_removed_then_weights_pruned() -> None:
    module = make()
    kinds = [type(callback) for callback in column_callbacks(module.stages, module)]
    assert kinds[:3] == [DropAuxiliaryLayers, RemoveChannels, L1Pruning]
    before, after = Watch(), Watch()
    fit(module, before, *column_callbacks(module.stages, module)[:3], after)
    assert [network.conv1.out_channels for network in before.networks] == [16, 16, 16, 8]
    assert [network.conv1.out_channels for network in after.networks] == [16, 16, 8, 4]
    assert [auxiliary_blocks(network) for network in after.networks] == [1, 1, 0, 0]
    for network, masks in zip(after.networks[2:], after.masks[2:], strict=True):
        for name, mask in masks.items():
            assert mask.shape == network.get_parameter(name).shape
            zeros = int((network.get_parameter(name) == 0).sum())
            assert zeros == int((~mask).sum()) >= round(0.5 * mask.numel())
    total = {name: mask.numel() for name, mask in after.masks[2].items()}
    off = sum(int((~mask).sum()) for mask in after.masks[2].values())
    assert off == pytest.approx(0.5 * sum(total.values()), rel=0.02)


def test_what_is_kept_has_its_weights_momentum_and_masks() -> None:
    module = make([{"epochs": 2, "sparsity": 0.3}, {"epochs": 1, "sparsity": 0.3, "channels": 0.5}])
    before, after = Watch(), Watch()
    fit(module, L1Pruning(module.stages), before, RemoveChannels(module.stages), after)
    kept = select_channels(before.networks[2], ChannelL1(), 0.5, (8, 8))
    assert kept["layer1.0.conv1"].keys() == {"out", "in"}

    def cut(name: str, value: Tensor) -> Tensor:
        axes = kept.get(name.rpartition(".")[0], {})
        value = value[axes["out"]] if "out" in axes else value
        return value[:, axes["in"]] if "in" in axes and value.dim() > 1 else value

    changed = dict(after.networks[2].named_parameters())
    assert {name: p.shape for name, p in changed.items()} != {
        name: p.shape for name, p in before.networks[2].named_parameters()
    }
    for name, parameter in before.networks[2].named_parameters():
        assert torch.equal(changed[name], cut(name, parameter)), name
    assert after.momentum[2].keys() == before.momentum[2].keys() == changed.keys()
    for name, value in before.momentum[2].items():
        assert torch.equal(after.momentum[2][name], cut(name, value)), name
        assert bool(value.any())
    for name, mask in before.masks[2].items():
        assert torch.equal(after.masks[2][name], cut(name, mask)), name
    assert after.held[2] == before.held[2]
    assert after.lr == pytest.approx([lr_at(module.stages, 2 * epoch, 2, 0.1) for epoch in range(3)])


def test_masked_weights_stay_zero_with_fewer_channels() -> None:
    module = make([{"epochs": 1, "sparsity": 0.5}, {"epochs": 2, "sparsity": 0.5, "channels": 0.5}])
    fit(module, RemoveChannels(module.stages), L1Pruning(module.stages))
    weights = module.masks.weights_of(module.network)
    assert sum(int((~mask).sum()) for mask in module.masks.by_name().values()) > 0
    assert not any(bool((weights[name][~mask] != 0).any()) for name, mask in module.masks.by_name().items())


def test_a_table_without_channels_trains_as_without_the_callback() -> None:
    ends = []
    for use in (False, True):
        module = make([{"epochs": 1}, {"epochs": 1, "sparsity": 0.5}])
        fit(module, *[RemoveChannels(module.stages)] * use, L1Pruning(module.stages))
        ends.append(module.state_dict())
    assert all(torch.equal(value, ends[1][key]) for key, value in ends[0].items())


def test_channels_are_removed_in_the_first_stage_and_stay_removed() -> None:
    module = make([{"epochs": 1, "channels": 0.5}, {"epochs": 1, "channels": 0.5}])
    assert removed_share(module.network) == 0
    watch = Watch()
    fit(module, RemoveChannels(module.stages), watch)
    assert [network.conv1.out_channels for network in watch.networks] == [8, 8]
    assert shapes(module.network) == shapes(watch.networks[0])


@pytest.mark.parametrize("settings", [{"precision": "bf16-mixed"}, {"accumulate_grad_batches": 2}])
def test_other_settings_of_the_trainer_go_with_it(settings: dict[str, Any]) -> None:
    module = make(recalibrate=1)
    fit(module, *column_callbacks(module.stages, module), **settings)
    assert module.network.get_parameter("conv1.weight").shape[0] == 4
    assert all(bool(torch.isfinite(value).all()) for value in module.state_dict().values())


def test_the_average_restarts_where_channels_are_removed() -> None:
    module = make()
    ema = WeightEMA(0.5)
    seen: list[bool] = []

    class Compare(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            state = pl_module.state_dict()
            if batch_idx == 0:
                average = ema.averaged_state(pl_module)
                seen.append(all(torch.equal(average[name], value) for name, value in state.items()))

    fit(module, *column_callbacks(module.stages, module), ema, Compare())
    assert seen == [True, False, True, True]
    assert module.network.get_parameter("conv1.weight").shape[0] == 4


def test_skipped_layers_keep_their_output_channels() -> None:
    module = make([{"epochs": 1, "channels": 0.5}], skip=["layer1.0.conv1", "layer3.0.conv1"])
    fit(module, RemoveChannels(module.stages))
    network = module.network
    assert network.get_parameter("layer1.0.conv1.weight").shape == (16, 8, 3, 3)
    assert network.get_parameter("layer2.0.conv1.weight").shape[0] == 16
    assert network.get_parameter("layer3.0.conv1.weight").shape[:2] == (64, 16)
    assert network.get_parameter("layer3.0.conv2.weight").shape[:2] == (32, 64)


def test_what_cannot_be_removed_is_refused_before_anything_is_trained() -> None:
    data = ImageData("digits", batch_size=128)
    with pytest.raises(UserError, match=r"channels must be at most 0\.968 for this network, got 0\.999"):
        make([{"epochs": 1}, {"epochs": 1, "channels": 0.999}]).prepare(data)
    with pytest.raises(UserError, match="channels must be 0 for CifarResNet with skip conv1, layer1, layer2, layer3"):
        make([{"epochs": 1, "channels": 0.5}], skip=["conv1", "layer1", "layer2", "layer3"]).prepare(data)
    with pytest.raises(UserError, match=r"stages ask for channels 0\.5, but Classifier does not prune: set model to"):
        Classifier(CifarResNet(10, 8), Stages.parse([{"epochs": 1, "channels": 0.5}]))


def test_a_network_that_fails_with_fewer_channels_is_refused() -> None:
    class Fixed(CifarResNet):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) + self.bn1.weight.reshape(16).sum()

    module = PrunedClassifier(Fixed(10, 8), Stages.parse([{"epochs": 1, "channels": 0.5}]))
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(
        UserError, match=r"channels must be 0 for Fixed, which fails with fewer channels \(shape '\[16\]'"
    ):
        module.prepare(ImageData("digits", batch_size=128))
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_the_recipe_names_a_criterion_that_is_not_the_default() -> None:
    assert "channel_criterion" not in make().recipe()
    expected = {"class": "ChannelL1", "scope": "layer", "round_to": 8}
    assert make(channel_criterion=ChannelL1(round_to=8)).recipe()["channel_criterion"] == expected


@pytest.mark.slow
def test_a_compiled_network_loses_channels(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"epochs": 1}, {"epochs": 1, "channels": 0.5}]
    ends = []
    for compiled in (False, True):
        module = make(rows, compile=compiled)
        fit(module, RemoveChannels(module.stages))
        ends.append(module.network.state_dict())
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], rtol=1e-2, atol=1e-3)


def test_a_second_fit_starts_from_the_sizes_of_its_checkpoint(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"epochs": 1}, {"epochs": 1, "channels": 0.5}]
    module = make(rows)
    trainer = fit(module, RemoveChannels(module.stages), max_epochs=1)
    trainer.save_checkpoint(tmp_path / "dense.ckpt")
    module = make(rows)
    trainer = fit(module, RemoveChannels(module.stages))
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    assert module.network.get_parameter("conv1.weight").shape[0] == 8
    for name, width in (("dense", 16), ("half", 8)):
        trainer.validate(module, datamodule=ImageData("digits", batch_size=128), ckpt_path=tmp_path / f"{name}.ckpt")
        assert module.network.get_parameter("conv1.weight").shape[0] == width
        assert all(
            mask.shape == w.shape
            for (_, mask), w in zip(
                module.masks.by_name().items(), module.masks.weights_of(module.network).values(), strict=True
            )
        )


def test_auxiliary_blocks_are_dropped_after_channels_were_removed() -> None:
    rows: list[dict[str, Any]] = [{"epochs": 1, "auxiliary": 2}, {"epochs": 1, "auxiliary": 1, "channels": 0.5}]
    module = make([*rows, {"epochs": 1, "channels": 0.5}])
    fit(module, *column_callbacks(module.stages, module))
    plain = CifarResNet(10, 8)
    assert shapes(module.network).keys() == shapes(plain).keys()
    assert module.network.get_parameter("layer3.0.conv2.weight").shape[0] == 32
