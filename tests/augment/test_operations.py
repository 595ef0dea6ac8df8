import pytest
import torch
from torchvision.transforms import v2

from dasc.augment import OPERATIONS, Operation
from dasc.augment.operations import BINS

NUMBER = {operation.name: number for number, operation in enumerate(OPERATIONS)}

SPACE = v2.RandAugment._AUGMENTATION_SPACE
SIZES = [(8, 8), (28, 28), (32, 32), (33, 33), (20, 32), (224, 224)]
WITHOUT_MAGNITUDE = ["Identity", "AutoContrast", "Equalize"]
BY_NAME = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)


def test_the_operations_stand_in_torchvisions_order() -> None:
    assert [operation.name for operation in OPERATIONS] == list(SPACE)
    assert [NUMBER[name] for name in SPACE] == list(range(14))


@BY_NAME
@pytest.mark.parametrize("size", SIZES)
def test_the_range_of_an_operation_is_torchvisions(operation: Operation, size: tuple[int, int]) -> None:
    magnitudes, signed = SPACE[operation.name]
    theirs = magnitudes(BINS, *size)
    got = operation.parameters(*size)
    assert operation.signed == signed
    expected = torch.zeros(BINS) if theirs is None else theirs
    assert got[:, 0].tolist() == [float(value) for value in expected]
    assert got[:, 1].tolist() == [float(value) * (-1 if signed else 1) for value in expected]


@BY_NAME
def test_severity_never_falls_as_the_magnitude_rises(operation: Operation) -> None:
    identity = {"Posterize": 8.0, "Solarize": 1.0}.get(operation.name, 0.0)
    for sign in (0, 1):
        severity = (operation.parameters(20, 32)[:, sign] - identity).abs()
        assert severity[0] == 0
        assert bool((severity.diff() >= 0).all())
        assert bool(severity[-1] > 0) == (operation.name not in WITHOUT_MAGNITUDE)


@pytest.mark.parametrize(
    ("name", "literals"),
    [
        ("ShearX", {0: 0.0, 10: 0.1, 30: 0.3}),
        ("TranslateX", {0: 0.0, 30: 150 / 331 * 32}),
        ("TranslateY", {0: 0.0, 30: 150 / 331 * 20}),
        ("Rotate", {0: 0.0, 14: 14.0, 30: 30.0}),
        ("Brightness", {0: 0.0, 10: 0.3, 30: 0.9}),
        ("Posterize", {0: 8, 3: 8, 4: 7, 11: 7, 12: 6, 18: 6, 19: 5, 26: 5, 27: 4, 30: 4}),
        ("Solarize", {0: 1.0, 15: 0.5, 30: 0.0}),
    ],
)
def test_the_parameters_are_the_literal_ones(name: str, literals: dict[int, float]) -> None:
    parameters = OPERATIONS[NUMBER[name]].parameters(20, 32)[:, 0]
    assert [float(parameters[bin_]) for bin_ in literals] == pytest.approx(list(literals.values()), rel=1e-6)


def test_posterize_never_blacks_an_image_out() -> None:
    posterize = OPERATIONS[NUMBER["Posterize"]]
    every_byte = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    for bits in posterize.parameters(16, 16)[:, 0].tolist():
        assert posterize.reference(every_byte, bits).view(-1).tolist() == [
            byte // 2 ** (8 - int(bits)) * 2 ** (8 - int(bits)) for byte in range(256)
        ]
