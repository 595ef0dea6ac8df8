"""What a run will do, before it is run: the epochs, steps, images and sizes of each stage."""

import copy
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from dasc.callbacks.averaging import weights_of
from dasc.data import ImageData
from dasc.memory import UNKNOWN, Device, estimate
from dasc.modules import Classifier, DistilledClassifier, PrunedClassifier
from dasc.networks import Count, count, describe_network, macs_per_weight, short
from dasc.seeding import run_seed
from dasc.stages import PlanSizes, Prunable, Stage, at_boundary, in_order
from dasc.stages.structure import structure_of

_IMPLEMENTATION = ("foreach", "fused", "capturable", "differentiable")
"""Settings of an optimizer that select an implementation, not another update."""


class Epoch(NamedTuple):
    """What one epoch takes."""

    steps: int
    images: int


class PlannedStage(NamedTuple):
    """A stage as it will be; epochs are counted from 1, sizes are without zeros, MACs are of one image."""

    first: int
    last: int
    row: Stage
    lr: float
    """Learning rate of the optimizer."""
    steps: int
    images: int
    layers: str
    """The network's own layers and those of its auxiliary blocks, as `20+20`."""
    parameters: int
    macs: int | None
    """None where it depends on the weights."""


def epoch_of(images: int, batch_size: int, limit: int | float | None = None, accumulate: int = 1) -> Epoch:
    """Return what an epoch takes; a batch that is not full is left out.

    Args:
        images: Training images.
        batch_size: Images of one batch over all processes.
        limit: Lightning's `limit_train_batches`: a count, or a share.
        accumulate: Batches of one optimizer step.
    """
    batches = images // batch_size
    if limit is not None:
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    return Epoch(steps=-(-batches // accumulate), images=batches * batch_size)


def planned_stages(module: Classifier, image_size: tuple[int, int], epoch: Epoch) -> list[PlannedStage]:
    """Return the stages of a module that has not been trained."""
    lr = module.recipe()["optimizer"]["lr"]
    sizes = _Sizes(module, image_size)
    own = sizes.plain()[0].layers
    planned = []
    for start, row in zip(module.stages.starts, module.stages, strict=True):
        dense, layers = sizes.of(row)
        layerwise = not isinstance(module, PrunedClassifier) or module.criterion.layerwise
        left = row.shrink(PlanSizes(dense.parameters, dense.macs, layers, layerwise))
        planned.append(
            PlannedStage(
                first=start + 1,
                last=start + row.epochs,
                row=row,
                lr=lr,
                steps=row.epochs * epoch.steps,
                images=row.epochs * epoch.images,
                layers=str(own) if dense.layers == own else f"{own}+{dense.layers - own}",
                parameters=left.parameters,
                macs=left.macs,
            )
        )
    return planned


def print_plan(
    module: Classifier,
    data: ImageData,
    epoch: Epoch,
    precision: Any = None,
    processes: int = 1,
    device: Device = UNKNOWN,
) -> None:
    """Print what is trained on what, its memory, and its stages as a table.

    Args:
        module: The module, prepared for the data.
        data: The data.
        epoch: Steps and images of an epoch.
        precision: `trainer.precision`.
        processes: Number of processes.
        device: The device that trains; a warning is printed if its memory is too small.
    """
    stages = planned_stages(module, data.image_size, epoch)
    facts = Table.grid(padding=(0, 2))
    facts.add_column()
    facts.add_column(overflow="fold")
    memory = estimate(module, data, precision, processes)
    for name, fact in (_facts(module, data) | {"memory": str(memory)}).items():
        facts.add_row(name, fact)
    console = Console(highlight=False, markup=False)
    console.print(facts)
    if warning := memory.warning(device):
        console.print(f"warning: {warning}")
    console.print(_table(stages, module))


class _Sizes:
    """Sizes of copies of a network that have the structure of some stage; the same structure is counted once."""

    def __init__(self, module: Classifier, image_size: tuple[int, int]) -> None:
        self._module = module
        self._image_size = image_size
        self._known: dict[str, tuple[Count, dict[str, Prunable]]] = {}

    def of(self, row: Stage) -> tuple[Count, dict[str, Prunable]]:
        """Return the dense sizes in a stage, and the layers that are pruned then."""
        network = copy.deepcopy(self._module.network)
        row.apply(network)
        for column in at_boundary():
            column.preview(network, row[column.name], self._module, self._image_size)
        key = repr(structure_of(network))
        if key not in self._known:
            self._known[key] = self._count(network)
        return self._known[key]

    def plain(self) -> tuple[Count, dict[str, Prunable]]:
        """Return the sizes in a stage whose columns have their defaults."""
        return self.of(Stage(epochs=1))

    def _count(self, network: nn.Module) -> tuple[Count, dict[str, Prunable]]:
        dense = count(network, self._image_size)
        if not isinstance(self._module, PrunedClassifier):
            return dense, {}
        _, macs = macs_per_weight(network, self._image_size)
        weights = self._module.masks.weights_of(network)
        return dense, {name: Prunable(weight.numel(), macs[name]) for name, weight in weights.items()}


def _facts(module: Classifier, data: ImageData) -> dict[str, str]:
    network = describe_network(module.network)
    arguments = ", ".join(f"{name} {value}" for name, value in network["init_args"].items())
    sizes, _ = _Sizes(module, data.image_size).plain()
    size = "x".join(map(str, data.image_size))
    images = ", ".join(f"{number:,} {name}" for name, number in data.counts().items())
    pruned = f", pruned with {module.criterion}" if isinstance(module, PrunedClassifier) else ""
    averaged = f", {weights_of(module.averaging)}" if module.averaging else ""
    skipped = f" but for {', '.join(module.skip)}" if isinstance(module, PrunedClassifier) and module.skip else ""
    return {
        "network": f"{type(module.network).__name__} ({arguments}): {sizes.layers} layers, "
        f"{sizes.parameters:,} parameters, {sizes.macs:,} MACs at {size}",
        "module": f"{type(module).__name__}{pruned}{skipped}{_channels(module)}",
        **_teacher(module),
        "data": f"{data.dataset}: {images} images, {size}, {data.num_classes} classes",
        **({"image size": f"{size} ({data.size_origin})"} if data.size_origin else {}),
        "optimizer": _optimizer(module),
        "run": f"batch size {data.batch_size}, seed {run_seed()}{averaged}",
    }


def _channels(module: Classifier) -> str:
    used = isinstance(module, PrunedClassifier) and any(row.channels for row in module.stages)
    return f", channels removed with {module.channel_criterion}" if used else ""


def _optimizer(module: Classifier) -> str:
    """Return the class and all settings of the optimizer, without implementation switches that are off."""
    optimizer = module.optimizer([nn.Parameter(torch.zeros(1))])
    shown = (f"{name} {value}" for name, value in optimizer.defaults.items() if value or name not in _IMPLEMENTATION)
    return f"{type(optimizer).__name__} ({', '.join(shown)})"


def _teacher(module: Classifier) -> dict[str, str]:
    if not isinstance(module, DistilledClassifier):
        return {}
    chosen = module.selection
    views = "" if chosen is None else f", chooses one of {chosen.views} views of each image"
    own = f"own network after stage {module.source.stage}"
    source = own if module.source.stage else module.source.path or module.source.weights
    return {"teacher": f"{source}, alpha {module.alpha:g}, temperature {module.temperature:g}{views}"}


def _caption(stages: list[PlannedStage], module: Classifier) -> str:
    notes = ["params, MACs: without zeros"]
    if any(stage.macs is None for stage in stages) and isinstance(module, PrunedClassifier):
        notes.append(f"with {module.criterion}, MACs depend on the weights")
    notes += [column.plan_note([stage.row[column.name] for stage in stages], module) for column in in_order()]
    return "; ".join(note for note in notes if note)


def _table(stages: list[PlannedStage], module: Classifier) -> Table:
    shown = [column for column in in_order() if column.is_in_plan([stage.row[column.name] for stage in stages])]
    table = Table(box=None, pad_edge=False, padding=(0, 1), caption=_caption(stages, module), caption_justify="left")
    for name in ["stage", *(column.title for column in shown), "steps", "images", "params", "MACs"]:
        table.add_column(name, justify="right", overflow="fold")  # a number too wide is broken, never cut
    for number, stage in enumerate(stages, start=1):
        cells = [column.plan_text(stage.row[column.name], stage) for column in shown]
        sizes = [short(stage.parameters), "-" if stage.macs is None else short(stage.macs)]
        table.add_row(str(number), *cells, short(stage.steps), short(stage.images), *sizes)
    steps, images = sum(stage.steps for stage in stages), sum(stage.images for stage in stages)
    table.add_row("total", str(stages[-1].last), *[""] * (len(shown) - 1), short(steps), short(images))
    return table
