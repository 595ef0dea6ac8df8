"""A classifier trained through a table of stages."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection

from dasc.data import Batch, ImageData
from dasc.errors import UserError
from dasc.metrics import MetricSet, correct
from dasc.modules.means import EpochMeans
from dasc.modules.progress import continue_epoch, epoch_is_complete, gather, position, steps_per_epoch
from dasc.modules.record import check_loads, describe_optimizer, describe_position, describe_run
from dasc.modules.schedule import StageLR
from dasc.preprocessing import preprocessing_of
from dasc.seeding import Stream, mix, run_seed, seed_draws
from dasc.stages import Stages
from dasc.stages.structure import restore_structure, structure_of, with_structure


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
        stages.check_module(self)
        self.network = with_structure(network, stages[0])
        self.stages = stages
        self.optimizer = optimizer
        self.label_smoothing = label_smoothing
        self.recalibrate = recalibrate
        self.compile_network = compile
        self.epochs_done = 0
        """Complete epochs of the training."""
        self._means = EpochMeans()
        self._logged: dict[str, float] = {}
        self._validation: dict[str, Any] = {}
        self.averaging: dict[str, Any] | None = None
        """Settings of the weight average of the training; set by `WeightEMA`, None without it."""
        self.trust: tuple[str, ...] = ()
        """Modules whose network classes are imported where a checkpoint names them; set by `--trust`."""
        self.metric_names: Sequence[str] | None = None
        """Names of the metrics that a test computes; None: all of the table."""
        self._test_metrics: MetricSet | None = None
        self._prepared: ImageData | None = None
        self.val_metrics = MetricCollection({"accuracy": MeanMetric(), "loss": _loss_metric()}, prefix="val/")

    def trusted_modules(self) -> list[str]:
        """Return the modules of `trust` and the module of the network."""
        return [*self.trust, type(self.network).__module__.partition(".")[0]]

    def on_structure_change(self) -> None:
        """Follow a change of the network's structure; optimizers are told by the callback that made it."""

    def prepare(self, data: ImageData) -> None:
        """Check the data, and give them the preprocessing of pretrained weights; called again it does nothing new.

        Raises:
            UserError: The module cannot be trained on them.
        """
        if self._prepared is not data:
            self._prepared = data
            data.use(preprocessing_of(self.network))

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
        return {"loss": loss, "accuracy": correct(logits, targets_of(batch)).mean()}

    def on_train_start(self) -> None:
        """Count the epochs before a resumed one."""
        self.epochs_done = self.current_epoch

    def on_train_epoch_start(self) -> None:
        """Set the learning rate of the epoch, and start its means."""
        self._means.reset()
        self._logged = {}
        self._stage_lr().start_epoch(self.current_epoch, steps_per_epoch(self.trainer))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed what the network draws itself, such as dropout."""
        seed = mix(Stream.NETWORK, run_seed(), self.current_epoch, self.global_rank, batch_idx)
        seed_draws(seed, self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the loss of one batch; the means stay on the device until the epoch ends."""
        values = self.loss(batch)
        self._means.update(values)
        return values["loss"]

    def train_means(self) -> dict[str, float]:
        """Return the means over the batches of the epoch so far and over all processes; call it on all of them."""
        means = self._means.compute()
        return self._means.by_name(means if means is None else self.trainer.strategy.reduce(means, reduce_op="mean"))

    def running_means(self) -> dict[str, float]:
        """Return the means over the batches of the epoch so far in this process, after waiting for its device."""
        return self._means.by_name(self._means.compute())

    def validation(self) -> dict[str, float]:
        """Return `accuracy` and `loss` on the validation images after the last batch; empty if they were not scored."""
        here = (self.current_epoch, self.trainer.fit_loop.epoch_loop.batch_idx + 1)
        return dict(self._validation["values"]) if here == tuple(self._validation.get("at", ())) else {}

    def log_epoch(self, values: Mapping[str, float]) -> None:
        """Log values of the epoch, in `on_train_epoch_end` at the latest.

        Loggers get them at its end, against the epoch: that is the axis of the table of stages. An epoch that is cut
        short is repeated, so it is not logged.
        """
        self._logged |= values
        self.log_dict(dict(values), logger=False)

    def on_train_epoch_end(self) -> None:
        """Log the epoch."""
        if not epoch_is_complete(self.trainer):
            return
        self.epochs_done = self.current_epoch + 1
        self.log_epoch({f"train/{name}": mean for name, mean in self.train_means().items()})
        self.log_epoch({f"val/{name}": value for name, value in self.validation().items()})
        self.log_epoch({"lr": float(self._stage_lr().lrs(0)[0])})
        for logger in self.trainer.loggers:
            logger.log_metrics(self._logged, step=self.current_epoch)
            logger.save()  # a killed run keeps the rows of a CSVLogger

    def _stage_lr(self) -> StageLR:
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, StageLR)
        return scheduler

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score one batch."""
        logits = self(batch.images).float()
        self.val_metrics["accuracy"].update(correct(logits, batch.targets))
        self.val_metrics["loss"].update(F.cross_entropy(logits, batch.targets, reduction="none"))

    def on_validation_epoch_end(self) -> None:
        """Log validation accuracy and loss; those of a fit reach the loggers at the end of the epoch."""
        values = self.val_metrics.compute()
        self.val_metrics.reset()
        fitting = self.trainer.state.fn == TrainerFn.FITTING
        self.log_dict(values, logger=False if fitting else None)
        if fitting and not self.trainer.sanity_checking:
            at = [self.current_epoch, self.trainer.fit_loop.epoch_loop.batch_idx + 1]
            self._validation = {"at": at, "values": {k.removeprefix("val/"): float(v) for k, v in values.items()}}

    def on_test_start(self) -> None:
        """Make the metrics of the test."""
        data = getattr(self.trainer, "datamodule", None)
        has_views = isinstance(data, ImageData)
        num_classes = int(getattr(data if has_views else self.network, "num_classes", 2))
        self._test_metrics = MetricSet(self.network, num_classes, self.device, self.metric_names, has_views)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score one batch and its augmented views."""
        assert self._test_metrics is not None
        self._test_metrics.update(batch.images, batch.targets)
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, ImageData):
            for view in range(self._test_metrics.views):
                self._test_metrics.update_view(data.pipeline.test_view(batch, view), view)

    def on_test_epoch_end(self) -> None:
        """Log the metrics of the test."""
        assert self._test_metrics is not None
        self.log_dict({f"test/{name}": value for name, value in self._test_metrics.compute().items()})
        self._test_metrics = None

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the probabilities (B, num_classes), float32."""
        probabilities: Tensor = self(batch.images).float().softmax(1)
        return probabilities

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Make the optimizer, and the learning rate that follows the table."""
        optimizer = self.optimizer(self.parameters())
        scheduler = StageLR(optimizer, self.stages)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def recipe(self) -> dict[str, Any]:
        """Return, as plain data, what about the training must be equal for a run to continue."""
        return {
            "module": type(self).__name__,
            "optimizer": describe_optimizer(self.optimizer),
            "label_smoothing": self.label_smoothing,
            "recalibrate": self.recalibrate,
            "averaging": self.averaging,
        }

    def describe(self) -> dict[str, Any]:
        """Return, as plain data, what a checkpoint keeps beside the weights."""
        return describe_run(self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the network and what a continued run must share."""
        at = position(self.trainer)
        state = describe_position(self, at) | {
            "weights": "averaged" if "current_model_state" in checkpoint else "trained"
        }
        if not at.closed:
            state["unfinished"] = at._asdict() | {
                "validation": self._validation,
                "processes": gather(self.epoch_state()),
            }
        checkpoint.setdefault("dasc", {}).update(self.describe() | state | structure_of(self.network))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is of this network and, to resume a run, of this run; restore its structure."""
        fitting = self.trainer.state.fn == TrainerFn.FITTING
        check_loads(self, checkpoint, continues=fitting)
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, ImageData):
            data.use(checkpoint["dasc"])
        restore_structure(self.network, checkpoint["dasc"])
        self.on_structure_change()
        if fitting and "unfinished" in checkpoint["dasc"]:
            self._resume_epoch(checkpoint, checkpoint["dasc"]["unfinished"])

    def _resume_epoch(self, checkpoint: dict[str, Any], unfinished: dict[str, Any]) -> None:
        """Resume within an epoch."""
        states = unfinished["processes"]
        if len(states) != self.trainer.world_size:
            raise UserError(
                f"trainer.devices must be {len(states)} to resume this checkpoint, which was saved within an epoch by "
                f"as many processes, got {self.trainer.world_size}: use last.ckpt to resume at the end of an epoch"
            )
        epoch, batches, whole = (unfinished[name] for name in ("epoch", "batches", "batches_per_epoch"))
        self._validation = unfinished["validation"]
        validated = self._validation.get("at") == [epoch, batches]
        continue_epoch(checkpoint["loops"]["fit_loop"], epoch, batches, batches == whole, validated)
        self.load_epoch_state(states[self.global_rank])

    def epoch_state(self) -> dict[str, Any]:
        """Return, as plain data, what this process has collected of the epoch in progress."""
        return {"means": self._means.state()}

    def load_epoch_state(self, state: Mapping[str, Any]) -> None:
        """Continue from what `epoch_state` returned."""
        self._means.load(state["means"], self.trainer.strategy.root_device)


def _loss_metric() -> MeanMetric:
    return MeanMetric(nan_strategy="disable")  # by default, NaN is left out of the mean


def targets_of(batch: Batch) -> Tensor:
    """Return the classes (B,) of a batch, or the shares of the classes (B, num_classes) where it is mixed."""
    return batch.targets if batch.mixed_targets is None else batch.mixed_targets
