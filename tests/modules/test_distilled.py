import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from dasc.callbacks import DropAuxiliaryLayers, L1Pruning, MagnitudeDecay, RecalibrateBatchNorm, SelectionReport
from dasc.callbacks.board import _settings
from dasc.data import Batch, ImageData
from dasc.errors import UserError
from dasc.modules import DistilledClassifier, Selection, TeacherConfig
from dasc.networks import CifarResNet, auxiliary_blocks
from dasc.plan import Epoch, print_plan
from dasc.stages import Stages
from tests.support.training import bare_trainer

RESNET8: dict[str, Any] = {"network": "CifarResNet", "network_args": {"depth": 8}}
RANDOM = [{"epochs": 1, "magnitude": "random"}]


def network(seed: int) -> CifarResNet:
    torch.manual_seed(seed)
    made = CifarResNet(10, depth=8)
    for _ in range(5):
        made(torch.randn(32, 3, 8, 8))
    return made


@pytest.fixture(autouse=True)
def teacher(tmp_path: Path) -> TeacherConfig:
    torch.save(network(1).state_dict(), tmp_path / "teacher.pt")
    return TeacherConfig(path=str(tmp_path / "teacher.pt"), **RESNET8)


def student(teacher: TeacherConfig, table: list[dict[str, Any]] | None = None, **settings: Any) -> DistilledClassifier:
    module = DistilledClassifier(network(2), Stages.parse(table or RANDOM), teacher, **settings)
    module.prepare(ImageData())
    return module


def batch(views: int | None = None, count: int = 6) -> Batch:
    torch.manual_seed(3)
    shape = (count, 3, 8, 8) if views is None else (views, count, 3, 8, 8)
    magnitudes = None if views is None else torch.randint(31, (views, count))
    return Batch(torch.randn(shape), torch.randint(10, (count,)), torch.arange(count), 0, magnitudes=magnitudes)


def log_softmax(logits: Tensor, temperature: float = 1.0) -> Tensor:
    scaled = logits.double() / temperature
    return scaled - scaled.exp().sum(-1, keepdim=True).log()


def kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    s, t = log_softmax(student, temperature), log_softmax(teacher, temperature)
    return temperature**2 * (t.exp() * (t - s)).sum(-1)


@pytest.mark.parametrize("targets", ["label", "teacher"])
def test_the_loss_is_alpha_ce_and_the_rest_kl(targets: str, teacher: TeacherConfig) -> None:
    module, given = student(teacher, alpha=0.3, temperature=2.5, targets=targets).eval(), batch()
    values = {name: value.detach() for name, value in module.loss(given).items()}
    with torch.no_grad():
        s, t = module.network(given.images), network(1).eval()(given.images)
    ce = -log_softmax(s)[torch.arange(6), given.targets].mean()
    divergence = kl(s, t, 2.5).mean()
    expected = 0.7 * divergence + (0.3 * ce if targets == "label" else 0)
    p = log_softmax(t).exp()
    assert float(values["loss"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(values["ce"]) == pytest.approx(float(ce), rel=1e-5)
    assert float(values["kl"]) == pytest.approx(float(divergence), rel=1e-5)
    assert float(values["teacher_accuracy"]) == pytest.approx(float((t.argmax(1) == given.targets).float().mean()))
    assert float(values["teacher_entropy"]) == pytest.approx(float(-(p * p.log()).sum(1).mean()), rel=1e-5)


WEIGHTS = [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.5, 2.0)]


@pytest.mark.parametrize("divergence", ["kl", "cross_entropy"])
@pytest.mark.parametrize(("a", "b"), WEIGHTS)
def test_each_image_is_trained_on_the_view_that_a_loop_over_eq_6_picks(
    a: float, b: float, divergence: Any, teacher: TeacherConfig
) -> None:
    selection = Selection(views=3, ce_weight=a, kl_weight=b, divergence=divergence)
    module, given = student(teacher, selection=selection, temperature=2.0), batch(views=3)
    fixed, own = network(1).eval(), network(2).eval()
    chosen = []
    for image in range(6):
        scores = []
        for view in range(3):
            with torch.no_grad():
                t, s = (n(given.images[view, image][None])[0] for n in (fixed, own))
            far = kl(s, t, 2.0)
            if divergence == "cross_entropy":
                far = -4.0 * (log_softmax(t, 2.0).exp() * log_softmax(s, 2.0)).sum()
            scores.append(float(-a * log_softmax(t)[given.targets[image]] - b * far))
        chosen.append(scores.index(min(scores)))
    assert len(set(chosen)) > 1
    images, answers, more = module._chosen(given, selection)
    for image, view in enumerate(chosen):
        assert torch.equal(images[image], given.images[view, image])
    assert torch.allclose(answers, module.teacher.logits(images), atol=1e-5)
    assert given.magnitudes is not None
    bins = module.take_chosen_bins()
    assert bins is not None
    expected = [int(given.magnitudes[view, image]) for image, view in enumerate(chosen)]
    assert bins.tolist() == [expected.count(magnitude) for magnitude in range(31)]
    assert module.take_chosen_bins() is None
    with torch.no_grad():
        wrong = fixed(given.images.flatten(0, 1)).argmax(1) != given.targets.repeat(3)
    assert float(more["misclassified_views"]) == pytest.approx(float(wrong.float().mean()))


def test_scoring_leaves_the_student_as_it_was(teacher: TeacherConfig) -> None:
    module, given = student(teacher, selection=Selection(views=2)), batch(views=2)
    module.train()
    module.get_submodule("network.layer1").eval()
    modes = [m.training for m in module.network.modules()]
    before = {key: value.clone() for key, value in module.network.state_dict().items()}
    module._chosen(given, Selection(views=2))
    assert all(torch.equal(value, before[key]) for key, value in module.network.state_dict().items())
    assert [m.training for m in module.network.modules()] == modes


@pytest.mark.parametrize(("b", "passes"), [(1.0, [12, 6]), (0.0, [6])])
def test_the_student_is_asked_once_for_all_views_and_not_at_all_without_the_divergence(
    b: float, passes: list[int], teacher: TeacherConfig
) -> None:
    module = student(teacher, selection=Selection(views=2, kl_weight=b))
    asked: dict[str, list[int]] = {"student": [], "teacher": []}
    module.network.register_forward_pre_hook(lambda _, given: asked["student"].append(len(given[0])))
    module.teacher.network.register_forward_pre_hook(lambda _, given: asked["teacher"].append(len(given[0])))
    module.loss(batch(views=2))
    assert asked == {"student": passes, "teacher": [12]}


class Look(Callback):
    def __init__(self) -> None:
        self.optimized: set[int] = set()
        self.logged: dict[str, float] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        groups = trainer.optimizers[0].param_groups
        self.optimized = {id(parameter) for group in groups for parameter in group["params"]}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.logged = {name: float(value) for name, value in trainer.callback_metrics.items()}


def fit(module: DistilledClassifier, *callbacks: Callback, **settings: Any) -> Trainer:
    base: dict[str, Any] = {"max_epochs": module.stages.total_epochs, "limit_train_batches": 2, "limit_val_batches": 1}
    trainer = bare_trainer(**base | {"callbacks": list(callbacks)} | settings)
    trainer.fit(module, datamodule=ImageData(batch_size=128))
    return trainer


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_teacher_is_frozen_and_nowhere_in_what_is_trained_or_saved(
    precision: str, teacher: TeacherConfig, tmp_path: Path
) -> None:
    stages = Stages.parse([{"epochs": 1, "magnitude": "random"}, {"epochs": 1, "magnitude": 4, "sparsity": 0.5}])
    module = DistilledClassifier(network(2), stages, teacher, selection=Selection(views=2))
    look = Look()
    trainer = fit(module, L1Pruning(stages), MagnitudeDecay(stages), look, precision=precision)
    module.train()
    fixed = {id(parameter) for parameter in module.teacher.network.parameters()}
    assert not any(m.training for m in module.teacher.network.modules())
    assert not fixed & {id(parameter) for parameter in module.parameters()}
    assert look.optimized
    assert not fixed & look.optimized
    assert all(parameter.grad is None for parameter in module.teacher.network.parameters())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    names = network(2).state_dict().keys()
    assert {key for key in saved["state_dict"] if key.startswith("network.")} == {f"network.{key}" for key in names}
    assert not any("teacher" in key for key in saved["state_dict"])
    assert saved["dasc"]["recipe"]["teacher"] == module.teacher.hash
    assert module.masks.by_name().keys() == {k for k in names if k.endswith("weight") and "bn" not in k}
    original = network(1).state_dict()
    for key, value in module.teacher.network.state_dict().items():
        assert torch.equal(value, original[key].to(value.dtype)), key
    assert {f"train/{name}" for name in ("loss", "ce", "kl", "teacher_accuracy", "teacher_entropy")} <= set(look.logged)
    assert {"train/misclassified_views", "train/chosen_magnitude"} <= set(look.logged)
    assert module.masks.sparsity() == pytest.approx(0.5, abs=1e-3)


def test_the_table_works_in_full(teacher: TeacherConfig) -> None:
    rows = [{"epochs": 1, "magnitude": 9, "auxiliary": 1}, {"epochs": 1, "magnitude": [8, 2], "sparsity": 0.5}]
    stages = Stages.parse(rows)
    module = DistilledClassifier(network(2), stages, teacher)
    fit(module, DropAuxiliaryLayers(stages), L1Pruning(stages), MagnitudeDecay(stages))
    assert auxiliary_blocks(module.network) == 0
    assert module.masks.sparsity() == pytest.approx(0.5, abs=1e-3)
    assert not any("auxiliary" in key for key in module.state_dict())


def test_batch_norm_is_recalibrated_on_the_first_of_several_views(teacher: TeacherConfig) -> None:
    stages = Stages.parse([{"epochs": 1, "magnitude": 9}, {"epochs": 1, "magnitude": 9, "sparsity": 0.5}])
    module = DistilledClassifier(network(2), stages, teacher, selection=Selection(views=2), recalibrate=2)
    trainer = fit(module, L1Pruning(stages), MagnitudeDecay(stages), RecalibrateBatchNorm(stages))
    assert float(trainer.callback_metrics["recalibration_batches"]) == 2


def test_each_epoch_has_a_row_of_the_magnitudes_chosen(teacher: TeacherConfig, tmp_path: Path) -> None:
    stages = Stages.parse([{"epochs": 2, "magnitude": "random"}, {"epochs": 1, "magnitude": 7}])
    module = DistilledClassifier(network(2), stages, teacher, selection=Selection(views=3))
    report = SelectionReport()
    trainer = fit(module, MagnitudeDecay(stages), report, default_root_dir=tmp_path)
    (path,) = tmp_path.rglob("selection.csv")
    with path.open() as file:
        rows = [[int(cell) for cell in row] for row in list(csv.reader(file))[1:]]
    assert [row[0] for row in rows] == [1, 2, 3]
    assert [sum(row[1:]) for row in rows] == [256, 256, 256]
    assert rows[2][1 + 7] == 256
    assert sum(count > 0 for count in rows[0][1:]) > 20
    checkpoint: dict[str, Any] = {}
    report.on_save_checkpoint(trainer, module, checkpoint)
    again = SelectionReport()
    again.on_load_checkpoint(trainer, module, checkpoint)
    assert again._rows == checkpoint["dasc"]["selected"] == rows


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0.0}, "alpha is 0.0: write a number over 0, at most 1"),
        ({"alpha": 1.1}, "alpha is 1.1: write a number over 0, at most 1"),
        ({"temperature": 0.0}, "temperature is 0.0: write a number over 0"),
        ({"alpha": 1.0, "targets": "teacher"}, "targets: teacher drops the cross entropy, and alpha 1 the rest"),
        ({"table": [{"epochs": 1}], "selection": Selection()}, "stage 1 has magnitude none, all views of an image"),
    ],
)
def test_a_setting_out_of_its_range_is_named(settings: dict[str, Any], message: str, teacher: TeacherConfig) -> None:
    with pytest.raises(UserError) as raised:
        student(teacher, **settings)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"views": 1}, "selection.views is 1: write at least 2, or selection: none"),
        ({"ce_weight": -1.0}, "selection.ce_weight is -1.0: write a number, at least 0"),
        ({"ce_weight": 0.0, "kl_weight": 0.0}, "selection.ce_weight and kl_weight are both 0"),
    ],
)
def test_a_selection_that_selects_nothing_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        Selection(**settings)
    assert message in str(raised.value)


def test_selection_asks_the_data_for_views_and_refuses_mixed_images(teacher: TeacherConfig) -> None:
    module = DistilledClassifier(network(2), Stages.parse(RANDOM), teacher, selection=Selection(views=3))
    data = ImageData()
    module.prepare(data)
    assert data.augmentation.views == 3
    with pytest.raises(UserError, match=r"data.mix mixup gives images two: set one of them to none"):
        module.prepare(ImageData(mix="mixup"))


def test_mixed_images_are_learned_from_label_and_teacher(teacher: TeacherConfig) -> None:
    module = student(teacher, alpha=0.5)
    given = batch()
    shares = torch.rand(6, 10).softmax(1)
    with torch.no_grad():
        values = module.eval().loss(given._replace(mixed_targets=shares))
        logits = module.network(given.images)
    expected = -(shares.double() * log_softmax(logits)).sum(1).mean()
    assert float(values["ce"]) == pytest.approx(float(expected), rel=1e-5)


def test_a_students_hyper_parameters_name_how_it_was_distilled(teacher: TeacherConfig) -> None:
    module = student(teacher, selection=Selection(views=3), alpha=0.25)
    described = module.describe() | {"data": ImageData(mix="none").describe()}
    assert _settings(described, module.stages)["training/distillation"] == (
        "alpha 0.25, temperature 4, targets label, selection views 3, ce_weight 1.0, kl_weight 1.0, divergence kl"
    )


def test_a_plan_names_the_teacher(teacher: TeacherConfig, capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(student(teacher, selection=Selection(views=3)), ImageData(), Epoch(8, 1024))
    said = " ".join(capsys.readouterr().out.split())
    assert "alpha 0.1, temperature 4, chooses one of 3 views of each image" in said
    assert "teacher.pt" in said.replace(" ", "")
