"""A classifier trained through a table of stages."""

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassCalibrationError

from dasc import __version__, checkpoint
from dasc.data import Batch, ImageData
from dasc.errors import UserError
from dasc.modules.diagnostics import VIEWS, Diagnostics
from dasc.modules.schedule import StageLR
from dasc.networks import auxiliary_blocks, describe_network, set_auxiliary_blocks
from dasc.seeding import mix, run_seed
from dasc.stages import Stages


class Classifier(LightningModule):
    """Trains a network with cross entropy.

    Args:
        network: Maps normalised images (B, 3, H, W) to logits (B, num_classes); keeps its constructor's arguments.
        stages: The table of stages.
        optimizer: Makes the optimizer from the parameters; its learning rate is the peak of stages that name none.
        label_smoothing: Share of the target that is spread over all classes, in [0, 1).
        recalibrate: Training batches that BatchNorm's running statistics are taken from anew, right after a drop or a
            pruning step; 0 leaves them to the training.
        compile: Whether the network is compiled by `torch.compile`.

    Raises:
        UserError: The table asks for what this module or the network cannot do.
    """

    prunes = False

    def __init__(
        self,
        network: nn.Module,
        stages: Stages,
        optimizer: OptimizerCallable = lambda p: torch.optim.SGD(
            p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
        ),
        label_smoothing: float = 0.0,
        recalibrate: int = 0,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise UserError(f"label_smoothing is {label_smoothing}: write a number from 0 to below 1")
        if recalibrate < 0:
            raise UserError(f"recalibrate is {recalibrate}: write a number of batches, or 0 to leave BatchNorm alone")
        self._check_table(stages)
        set_auxiliary_blocks(network, stages[0].auxiliary)
        self.network = network
        self.stages = stages
        self.optimizer = optimizer
        self.label_smoothing = label_smoothing
        self.recalibrate = recalibrate
        self.compile_network = compile
        self._totals: Tensor | None = None
        self._names: tuple[str, ...] = ()
        self._epoch_lr = 0.0
        self._diagnostics: Diagnostics | None = None
        self.val_metrics = MetricCollection({"accuracy": MeanMetric(), "loss": MeanMetric()}, prefix="val/")
        self.test_metrics = MetricCollection({"accuracy": MeanMetric(), "nll": MeanMetric()}, prefix="test/")
        self.test_ece = MulticlassCalibrationError(int(getattr(network, "num_classes", 2)), n_bins=15)

    def _check_table(self, stages: Stages) -> None:
        if not self.prunes and stages[-1].sparsity > 0:
            raise UserError(
                f"stages ask for sparsity {stages[-1].sparsity}, but {type(self).__name__} does not prune: "
                "set model to PrunedClassifier"
            )

    def set_auxiliary_blocks(self, count: int) -> None:
        """Bring the network to `count` auxiliary blocks; an optimizer made before knows nothing of it."""
        set_auxiliary_blocks(self.network, count)

    def prepare(self, data: ImageData) -> None:
        """Check what the data decide, before a training writes anything; called again it does nothing new.

        Raises:
            UserError: The module cannot be trained on them.
        """

    def setup(self, stage: str) -> None:
        """Compile the network for training."""
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and isinstance(data, ImageData):
            self.prepare(data)
        if self.compile_network and stage == "fit":
            # one shape each for training and validation: automatic dynamic shapes would change the last bits on resume
            self.network.compile(dynamic=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, 3, H, W) to logits (B, num_classes)."""
        logits: Tensor = self.network(images)
        return logits

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return scalars by name: `loss` is minimised, all are logged as their mean over the epoch."""
        logits = self(batch.images)
        loss = F.cross_entropy(logits.float(), targets_of(batch), label_smoothing=self.label_smoothing)
        return {"loss": loss, "accuracy": hits(logits, targets_of(batch)).mean()}

    def on_train_epoch_start(self) -> None:
        """Seed what the network itself draws, such as dropout, and start the epoch's means."""
        torch.manual_seed(mix(run_seed(), self.current_epoch, self.global_rank, 2))
        self._totals = None
        self._epoch_lr = self.trainer.optimizers[0].param_groups[0]["lr"]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the loss of one batch; the means stay on the device until the epoch ends."""
        values = self.loss(batch)
        self._names = tuple(values)
        step = torch.stack([value.detach().float() for value in values.values()])
        self._totals = step if self._totals is None else self._totals.add_(step)
        return values["loss"]

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means, over all processes."""
        if self._totals is None:
            return
        means = self._totals / self.trainer.num_training_batches
        self._log_epoch({f"train/{name}": mean for name, mean in zip(self._names, means, strict=True)}, sync_dist=True)
        self._log_epoch({"lr": torch.tensor(self._epoch_lr)})

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score one batch."""
        logits = self(batch.images).float()
        self.val_metrics["accuracy"].update(hits(logits, batch.targets))
        self.val_metrics["loss"].update(F.cross_entropy(logits, batch.targets, reduction="none"))

    def on_validation_epoch_end(self) -> None:
        """Log validation accuracy and loss."""
        values = self.val_metrics.compute()
        self.val_metrics.reset()
        if self.trainer.state.fn == TrainerFn.FITTING:
            self._log_epoch(values)
        else:
            self.log_dict(values)

    def on_test_start(self) -> None:
        """Start the metrics that only a test has."""
        self._diagnostics = Diagnostics(self.network, self.test_ece.num_classes, self.device)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score one batch, and look at it under several draws of the augmentation."""
        assert self._diagnostics is not None
        logits = self._diagnostics.update(batch.images, batch.targets)
        self.test_metrics["accuracy"].update(hits(logits, batch.targets))
        self.test_metrics["nll"].update(F.cross_entropy(logits, batch.targets, reduction="none"))
        self.test_ece.update(logits.softmax(1), batch.targets)
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, ImageData):
            for view in range(VIEWS):
                self._diagnostics.update_view(data.test_view(batch, view), view)

    def on_test_epoch_end(self) -> None:
        """Log accuracy, negative log-likelihood, expected calibration error (15 bins) and the diagnostics."""
        assert self._diagnostics is not None
        more = {f"test/{name}": value for name, value in self._diagnostics.compute().items()}
        self.log_dict({**self.test_metrics.compute(), "test/ece": self.test_ece.compute(), **more})
        self.test_metrics.reset()
        self.test_ece.reset()

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the probabilities (B, num_classes), float32."""
        probabilities: Tensor = self(batch.images).float().softmax(1)
        return probabilities

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Make the optimizer, and the learning rate that follows the table."""
        optimizer = self.optimizer(self.parameters())
        steps = int(self.trainer.estimated_stepping_batches) // max(self.trainer.max_epochs or 1, 1)
        scheduler = StageLR(optimizer, self.stages, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def recipe(self) -> dict[str, Any]:
        """Return, as plain data, what about the training must be equal for a run to continue."""
        optimizer = self.optimizer([nn.Parameter(torch.zeros(1))])
        settings = {name: value for name, value in optimizer.defaults.items() if name not in ("foreach", "fused")}
        return {
            "module": type(self).__name__,
            "optimizer": {"class": type(optimizer).__name__} | {k: _plain(v) for k, v in settings.items()},
            "label_smoothing": self.label_smoothing,
            "recalibrate": self.recalibrate,
        }

    def describe(self) -> dict[str, Any]:
        """Return, as plain data, what a checkpoint keeps beside the weights."""
        data = getattr(self._trainer, "datamodule", None)
        return {
            "format": checkpoint.FORMAT,
            "version": __version__,
            "network": describe_network(self.network),
            "classes": list(data.class_names) if data else [],
            "image_size": list(data.image_size) if data else [],
            "mean": list(data.mean) if data else [],
            "std": list(data.std) if data else [],
            "data": data.describe() if data else {},
            "recipe": self.recipe(),
            "seed": run_seed(),
            "stages": self.stages.dump(),
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the network and what a continued run must share."""
        progress = self.trainer.fit_loop.epoch_progress.current
        begun = progress.ready - 1  # not current_epoch, which is one more once the fit is over
        performance = {
            "precision": str(self.trainer.precision),
            "compile": self.compile_network,
            "processes": self.trainer.world_size,
        }
        done = progress.processed  # type: ignore[attr-defined]  # declared as a tracker with fewer counts
        state = {
            "epoch": begun,
            "epochs_done": done,
            "stage": self.stages.stage_at(begun),
            "auxiliary": auxiliary_blocks(self.network),
            "performance": performance,
        }
        checkpoint.setdefault("dasc", {}).update(self.describe() | state)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is of this network and, to continue a run, of this run; take its blocks over."""
        _check_loads(checkpoint, self.describe(), continues=self.trainer.state.fn == TrainerFn.FITTING)
        self.set_auxiliary_blocks(checkpoint["dasc"].get("auxiliary", 0))

    def _log_epoch(self, values: dict[str, Tensor], sync_dist: bool = False) -> None:
        """Log against the epoch, not the step: that is the axis of the table of stages."""
        self.log_dict(values, sync_dist=sync_dist)
        self.log("step", float(self.current_epoch))


def _check_loads(loaded: dict[str, Any], current: dict[str, Any], continues: bool) -> None:
    if "dasc" not in loaded:
        raise UserError("the checkpoint is not of a dasc run: use a file from its checkpoints/ folder")
    if continues:
        checkpoint.check_continues(loaded["dasc"], current)
    elif loaded["dasc"]["network"] != current["network"]:
        raise UserError(
            f"the checkpoint is of another network: it has {loaded['dasc']['network']}, "
            f"this run asks for {current['network']}: set model.network to the checkpoint's"
        )


def targets_of(batch: Batch) -> Tensor:
    """Return the classes (B,) of a batch, or the shares of the classes (B, num_classes) where it is mixed."""
    return batch.targets if batch.mixed_targets is None else batch.mixed_targets


def hits(logits: Tensor, targets: Tensor) -> Tensor:
    """Return 1 where the largest logit of (B, num_classes) is that of the (largest) target and 0 elsewhere, (B,)."""
    return (logits.argmax(1) == (targets if targets.dim() == 1 else targets.argmax(1))).float()


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value.item() if isinstance(value, Tensor) else value
