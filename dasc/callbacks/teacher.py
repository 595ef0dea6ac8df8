"""A teacher that the run makes itself."""

import copy

from lightning.pytorch import Callback, LightningModule, Trainer

from dasc.callbacks.averaging import WeightEMA
from dasc.modules import DistilledClassifier
from dasc.stages import Stages


class StageTeacher(Callback):
    """Makes the network at the end of the stage of `teacher.stage` the teacher of the stages after it.

    It has the weights that stage-N.ckpt holds: with `WeightEMA`, their average. All processes take those of the first
    one, whose BatchNorm statistics the checkpoints have. It must come before the callbacks that change the network as
    a stage starts.

    Args:
        stages: The table of stages.
    """

    def __init__(self, stages: Stages) -> None:
        self._stages = stages

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the network where the stage after that of the teacher starts."""
        if not isinstance(pl_module, DistilledClassifier) or not pl_module.waits_for_teacher:
            return
        epoch = trainer.current_epoch
        if not self._stages.starts_at(epoch) or self._stages.stage_at(epoch) != pl_module.source.stage:
            return
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
        averages = [callback for callback in callbacks if isinstance(callback, WeightEMA)]
        state = averages[0].averaged_state(pl_module) if averages else pl_module.state_dict()
        own = {name: state[f"network.{name}"].cpu() for name in pl_module.network.state_dict()}
        network = copy.deepcopy(pl_module.network)
        network.load_state_dict(trainer.strategy.broadcast(own))
        pl_module.use_teacher(network)
