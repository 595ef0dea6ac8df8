"""Results of a comparison: the rows, the best candidate, and the Pareto fronts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dasc.compare.latencies import Latencies, common_runtime
from dasc.compare.paired import Pair, holm, mcnemar
from dasc.compare.pareto import Point, on_front
from dasc.compare.score import Score
from dasc.compare.sizes import Sizes


@dataclass(frozen=True)
class Row:
    """Results of a candidate.

    Args:
        name: Short name.
        path: The file.
        form: `checkpoint`, `int8`, or the name of its format.
        sizes: Its parameters and MACs.
        bytes: Bytes of the file; of a checkpoint, those of its network's dense tensors.
        score: Its score.
        latencies: Its latencies by runtime and batch size; empty if none were measured.
    """

    name: str
    path: Path
    form: str
    sizes: Sizes
    bytes: int
    score: Score
    latencies: Latencies


@dataclass(frozen=True)
class Difference:
    """Comparison of a candidate with the best one.

    Args:
        pair: The best one, which is the first, and the candidate.
        p_value: The p-value of the pair, adjusted for the number of pairs.
    """

    pair: Pair
    p_value: float

    @property
    def is_significant(self) -> bool:
        """Whether the candidate is less accurate than the best one at a level of 5 %."""
        return self.p_value < 0.05


@dataclass(frozen=True)
class Comparison:
    """Candidates on the same images.

    Args:
        rows: A row for each candidate, at least one.
        split: `val` or `test`.
        threads: Threads of the measured forward passes.
        notes: What a user has to know, one sentence each.
    """

    rows: Sequence[Row]
    split: str
    threads: int
    notes: Sequence[str] = ()

    @property
    def best(self) -> int:
        """Number of the most accurate candidate, the first of equals."""
        accuracies = [row.score.accuracy for row in self.rows]
        return accuracies.index(max(accuracies))

    @property
    def runtime(self) -> str | None:
        """Runtime in which all candidates were measured, ONNX Runtime if possible; None if there is none."""
        return common_runtime([row.latencies for row in self.rows])

    def differences(self) -> list[Difference | None]:
        """Return the comparison of each candidate with the best one; None for the best one."""
        best = self.best
        pairs = {
            place: mcnemar(self.rows[best].score.correct, row.score.correct)
            for place, row in enumerate(self.rows)
            if place != best
        }
        adjusted = dict(zip(pairs, holm([pair.p_value for pair in pairs.values()]), strict=True))
        return [
            Difference(pairs[place], adjusted[place]) if place in pairs else None for place in range(len(self.rows))
        ]

    def front_of_bytes(self) -> list[bool]:
        """Return for each candidate whether it is on the Pareto front of accuracy and bytes."""
        return on_front([Point(row.bytes, *row.score.interval) for row in self.rows])

    def front_of_latency(self) -> list[bool] | None:
        """Return the same for the median latency at batch 1 in `runtime`; None without one."""
        runtime = self.runtime
        if runtime is None:
            return None
        return on_front([Point(row.latencies[runtime][1].median_ms, *row.score.interval) for row in self.rows])
