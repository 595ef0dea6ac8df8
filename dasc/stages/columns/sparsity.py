"""The column `sparsity`: the share of zeros among the prunable weights."""

from collections.abc import Mapping, Sequence
from typing import Any

from dasc.stages.column import Column, PlanSizes, StageFacts, is_number


class Sparsity(Column):
    """Share of zeros in [0, 1), reached by pruning as the stage starts; it never falls.

    References:
        Yu, Zhang, Ma, https://arxiv.org/abs/2305.13232, Eq. 5.
    """

    name = title = "sparsity"
    default = 0.0
    remedy = "write a number from 0 to below 1"
    default_text = "0"
    help = "sparsity, 0 to below 1"
    always_shown = True
    callback = "dasc.callbacks.pruning.L1Pruning"
    capability = "prunes"
    capability_error = "does not prune: set model to PrunedClassifier"
    changes_network = True
    csv_names = ("sparsity_asked", "sparsity", "sparsity_all_parameters")

    def is_valid(self, value: Any) -> bool:
        """Return whether it is a number in [0, 1)."""
        return is_number(value) and 0 <= value < 1

    def conflict(self, before: Any, value: Any) -> str:
        """Refuse a lower sparsity than before."""
        if value >= before:
            return ""
        return f"sparsity {value} is below the {before} of the stage before it: pruned weights do not come back"

    def shrink(self, value: Any, sizes: PlanSizes) -> PlanSizes:
        """Return the sizes without zeros, which are rounded as the criteria of `dasc.pruning` round.

        Unless the target holds in each layer, the zeros of a layer depend on the weights, and MACs are not known.
        """
        layers = sizes.layers.values()
        if not sizes.layerwise:
            zeros = round(value * sum(layer.weights for layer in layers))
            return sizes._replace(parameters=sizes.parameters - zeros, macs=None if zeros else sizes.macs)
        counts = [(round(value * layer.weights), layer.macs) for layer in layers]
        macs = None if sizes.macs is None else sizes.macs - sum(zeros * each for zeros, each in counts)
        return sizes._replace(parameters=sizes.parameters - sum(zeros for zeros, _ in counts), macs=macs)

    def text(self, value: Any) -> str:
        """Return the target in percent."""
        return f"{value:.1%}"

    def progress(self, value: Any) -> str:
        """Return the target."""
        return f"sparsity {value:g}"

    def short(self, value: Any) -> str:
        """Return the target in percent."""
        return f"{100 * value:g}%"

    def is_curve(self, values: Sequence[Any]) -> bool:
        """Return whether anything is pruned."""
        return any(value > 0 for value in values)

    def csv(self, value: Any, facts: StageFacts) -> dict[str, Any]:
        """Return the target, and the share of zeros among the prunable weights and among all parameters."""
        sizes = facts.sizes
        return {
            "sparsity_asked": value,
            "sparsity": round(facts.sparsity, 6),
            "sparsity_all_parameters": round(1 - sizes.nonzero_parameters / sizes.parameters, 6),
        }

    def report_text(self, row: Mapping[str, Any]) -> str:
        """Return the sparsity that was reached."""
        return f"{row['sparsity']:.1%}"


COLUMN = Sparsity()
