"""A column of the table of stages."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from torch import nn

from dasc.networks import Count


class PlanFacts(Protocol):
    """Facts about a planned stage that a column may show."""

    @property
    def first(self) -> int:
        """First epoch, from 1."""

    @property
    def last(self) -> int:
        """Last epoch, from 1."""

    @property
    def lr(self) -> float:
        """Learning rate of the optimizer, the peak of rows without `lr`."""

    @property
    def layers(self) -> str:
        """Layers of the network, and of its auxiliary blocks, such as `20+20`."""


class Prunable(NamedTuple):
    """A layer that is pruned: its number of weights, and the MACs of each."""

    weights: int
    macs: int


class PlanSizes(NamedTuple):
    """Sizes of the network of a planned stage."""

    parameters: int
    macs: int | None
    """MACs of one image; None if they depend on the weights."""
    layers: Mapping[str, Prunable]
    """The layers that are pruned, by name; empty for a module that does not prune."""
    layerwise: bool
    """Whether the target sparsity holds in each layer, or only in all of them together."""


class StageFacts(NamedTuple):
    """Facts about a finished stage for stages.csv."""

    sizes: Count
    sparsity: float
    """Share of zeros among the prunable weights."""
    lr: float
    """Learning rate of the optimizer, the peak of rows without `lr`."""


class Column(ABC):
    """A column: its values, and all that the package shows and records of them.

    A new column is a file in `dasc/stages/columns/` with a subclass and the line `COLUMN = MyColumn()`. What happens to
    the network, the data or the optimizer at a stage boundary is in the callback that `callback` names.
    """

    name: str
    """Key in a row."""
    title: str
    """Heading in printed tables."""
    default: Any = None
    """Value of rows without the column."""
    remedy: str
    """What to write, for errors, such as `write a number over 0`."""
    default_text: str = ""
    """What rows without the column have, for the error about an empty cell."""
    required: str = ""
    """Error for a row without the column; empty if it may be left out."""
    help: str
    """Values and meaning in a few words, for `--help`."""
    callback: str = ""
    """Import path of the callback that applies the column; empty for none."""
    capability: str = ""
    """Attribute of a module that is true if the module can apply the column; empty if all can."""
    capability_error: str = ""
    """End of the error for other modules, after `stages ask for NAME VALUE, but CLASS `."""
    changes_network: bool = False
    """Whether another value than in the stage before makes another network of it."""
    always_shown: bool = False
    """Whether printed tables have the column even if all rows have the default."""
    csv_names: tuple[str, ...] = ()
    """Columns of stages.csv; () for one with the name of the column."""
    csv_if_used: bool = False
    """Whether stages.csv lacks these columns until a row has another value than the default."""

    @abstractmethod
    def is_valid(self, value: Any) -> bool:
        """Return whether a parsed value is in range."""

    def parse(self, raw: Any) -> Any:
        """Return the value for a cell as in YAML, or for a value in Python."""
        return raw

    def dump(self, value: Any) -> Any:
        """Return the cell as in YAML; the inverse of `parse`."""
        return value

    def conflict(self, before: Any, value: Any) -> str:
        """Return why a value may not follow `before`, the value of the row before; empty if it may."""
        return ""

    def scaled(self, value: Any, factor: float) -> Any:
        """Return the value under `--NAME_scale factor`; only for columns that count something."""
        return value

    def at(self, value: Any, epoch: int, epochs: int) -> Any:
        """Return the value in epoch `epoch` (from 0) of a stage that has `epochs` epochs."""
        return value

    def before_first(self, value: Any) -> Any:
        """Return the value before the first stage, of which `value` is the own one."""
        return self.default

    def apply(self, network: nn.Module, value: Any) -> None:
        """Change the structure of a network to that of a stage; columns without one leave it as it is."""
        return

    def observe(self, network: nn.Module) -> Any:
        """Return, as plain data for a checkpoint, what `restore` needs to rebuild the structure; None for nothing."""
        return None

    def restore(self, network: nn.Module, recorded: Any) -> None:
        """Give a network the structure that `observe` returned; None for a checkpoint without it."""
        if recorded is not None:
            self.apply(network, recorded)

    def preview(self, network: nn.Module, value: Any, module: Any, image_size: tuple[int, int]) -> None:
        """Change a network, after `apply`, as `callback` would if a stage started with the weights it has.

        Args:
            network: A copy of the network of a module that has not been trained.
            value: The value of the stage.
            module: The module, which has `capability`.
            image_size: Height and width of the images.
        """
        return

    def shrink(self, value: Any, sizes: PlanSizes) -> PlanSizes:
        """Return the sizes that a plan shows, without what the column removes besides the structure of `apply`."""
        return sizes

    def text(self, value: Any) -> str:
        """Return the value for tables and stages.csv."""
        return str(self.dump(value))

    def plan_text(self, value: Any, facts: PlanFacts) -> str:
        """Return the cell in the table of `dasc plan`."""
        return self.text(value)

    def plan_note(self, values: Sequence[Any], module: Any) -> str:
        """Return what the caption of the table of `dasc plan` says about the values of a module; empty for nothing."""
        return ""

    def is_in_plan(self, values: Sequence[Any]) -> bool:
        """Return whether the table of `dasc plan` has this column."""
        return self.always_shown or any(value != self.default for value in values)

    def progress(self, value: Any) -> str:
        """Return the part of the progress bar about the value in an epoch; empty for none."""
        return "" if value == self.default else f"{self.name} {value}"

    def short(self, value: Any) -> str:
        """Return the part about a row in the hyper-parameters of TensorBoard."""
        return "" if value == self.default else f" {self.name} {self.text(value)}"

    def is_curve(self, values: Sequence[Any]) -> bool:
        """Return whether `name` is logged in some epoch of a run, whose epochs have these values."""
        return False

    def csv(self, value: Any, facts: StageFacts) -> dict[str, Any]:
        """Return the cells of stages.csv."""
        return {self.name: self.text(value)}

    def report_text(self, row: Mapping[str, Any]) -> str:
        """Return the cell in the table that ends a run, from a row of stages.csv."""
        return str(row.get(self.name, self.text(self.default)))

    def is_in_report(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether the table that ends a run has this column."""
        return self.always_shown or any(self.report_text(row) != self.text(self.default) for row in rows)


def is_integer(value: Any) -> bool:
    """Return whether a value is an integer; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Return whether a value is an integer or a float; a bool is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def scaled_count(count: int, factor: float) -> int:
    """Return a count times a factor, rounded half up; 0 stays 0, and others stay at least 1."""
    return max(min(count, 1), math.floor(count * factor + 0.5))
