"""Mistakes in the table of stages."""

from tests.messages.case import Case

CASES = {
    "an unknown column": Case(
        "fit --config {config} --stages='[{epochs: 1, sparsty: 0.2}]'",
        ("dasc fit: ", "unknown column 'sparsty'", "sparsity?"),
    ),
}
