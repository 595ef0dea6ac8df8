import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from dasc.augment import OPERATIONS, Operation, RandAugment, randaugment
from dasc.augment.operations import BINS, Kind

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


def add_operations(*more: Operation) -> Any:
    """Return the module of RandAugment as it is with more operations."""
    spec = importlib.util.spec_from_file_location("with_more_operations", randaugment.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dasc.augment.operations.OPERATIONS", (*OPERATIONS, *more))
        spec.loader.exec_module(module)
    return module


def darkened_by_mean(images: Tensor, ratio: Tensor, alpha: Tensor) -> Tensor:
    """Tables that subtract an image's mean brightness, rounded down."""
    mean = images.double().flatten(1).mean(1).long().view(-1, 1, 1)
    return (torch.arange(256) - mean).clamp(min=0).to(torch.uint8).expand(-1, 3, -1)


def test_an_operation_of_any_kind_is_added_by_an_entry() -> None:
    more = (
        Operation("Invert", Kind.LUT, lambda image, _: F.invert(image)),
        Operation("Roll", Kind.MAP, lambda image, _: image.roll(3, -1)),
        Operation("Darken", Kind.IMAGE_LUT, lambda image, _: image, kernel=darkened_by_mean),
        Operation(
            "Fade",
            Kind.IMAGE,
            lambda image, _: image,
            lambda height, width: torch.linspace(0, 1, BINS),
            signed=True,
            kernel=lambda images, ratio, alpha: (images * (ratio / 2)).to(torch.uint8),
        ),
    )
    module = add_operations(*more)
    images = torch.randint(256, (18 * 4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    operation = torch.arange(18).repeat(4)
    bins, negative = torch.arange(72) % BINS, torch.arange(72) % 5 == 0
    got = module.RandAugment(8, 8).apply(images, operation, bins, negative)
    known = operation < 14
    rest = (images[known], operation[known], bins[known], negative[known])
    assert torch.equal(got[known], RandAugment(8, 8).apply(*rest))
    for k in range(72):
        image, name = images[k], "" if known[k] else more[int(operation[k]) - 14].name
        if name == "Invert":
            assert torch.equal(got[k], 255 - image)
        elif name == "Roll":
            assert torch.equal(got[k], image[..., [5, 6, 7, 0, 1, 2, 3, 4]])
        elif name == "Darken":
            mean = sum(image.flatten().tolist()) // 192
            assert got[k].flatten().tolist() == [max(byte - mean, 0) for byte in image.flatten().tolist()]
        elif name == "Fade":
            factor = (1 + float(torch.linspace(0, 1, BINS)[bins[k]]) * (-1 if negative[k] else 1)) / 2
            error = got[k].double() - (image.double() * factor).floor()
            assert float(error.abs().max()) <= 1


def test_no_operation_is_named_outside_of_their_table() -> None:
    package = Path(randaugment.__file__).parents[1]
    names = {f'"{operation.name}"' for operation in OPERATIONS} - {'"Identity"'}  # also an operator of ONNX
    naming = {path.name for path in package.rglob("*.py") if any(name in path.read_text("utf-8") for name in names)}
    assert naming == {"operations.py"}
