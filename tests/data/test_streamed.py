import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image
from torch import Tensor

from dasc.cli import main
from dasc.data import Batch, EvaluationOrder, FileSet, ImageData, StreamedLoader, TrainingOrder
from dasc.errors import UserError
from tests.support.files import make_folder, noise, release, save, truncate

COUNT, BATCH = 24, 8


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> FileSet:
    """Images whose red rises from left to right and whose green from top to bottom; blue numbers them."""
    folder = tmp_path_factory.mktemp("files")
    rows, columns = np.mgrid[:40, :40].astype(np.uint8) * 6
    paths = [
        str(save(np.stack([columns, rows, np.full_like(rows, number)], axis=-1), folder / f"{number}.png"))
        for number in range(COUNT)
    ]
    return FileSet(paths, torch.arange(COUNT) % 5)


def training(
    files: FileSet, workers: int = 0, rank: int = 0, world_size: int = 1, seed: int = 7, crop: bool = True
) -> StreamedLoader:
    order = TrainingOrder(len(files.paths), BATCH, seed, rank, world_size)
    return StreamedLoader(files, (16, 16), order, seed, crop, 1.0, workers, pin_memory=False)


def evaluation(files: FileSet, workers: int = 0, rank: int = 0, world_size: int = 1) -> StreamedLoader:
    order = EvaluationOrder(len(files.paths), 10, rank, world_size)
    return StreamedLoader(files, (16, 16), order, 0, False, 1.0, workers, pin_memory=False)


def epoch_of(loader: StreamedLoader, epoch: int) -> list[Batch]:
    loader.sampler.set_epoch(epoch)
    return list(loader)


def assert_equal(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.number == b.number
        for x, y in ((a.images, b.images), (a.targets, b.targets), (a.indices, b.indices)):
            assert x.dtype == y.dtype
            assert torch.equal(x, y)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_epoch_has_the_batches_that_were_left(workers: int, files: FileSet) -> None:
    whole = epoch_of(training(files, workers), 3)
    resumed = training(files, workers)
    resumed.load_state_dict({"epoch": 3, "batches": 1})
    assert_equal(epoch_of(resumed, 3), whole[1:])
    assert resumed.state_dict() == {"epoch": 3, "batches": 3}


def by_image(batches: list[Batch]) -> dict[int, Tensor]:
    return {
        place: image for batch in batches for place, image in zip(batch.indices.tolist(), batch.images, strict=True)
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_holds_the_images_and_classes_of_its_indices_as_uint8(workers: int, files: FileSet) -> None:
    batches = epoch_of(training(files, workers), 0)
    assert [batch.number for batch in batches] == [0, 1, 2]
    for batch in batches:
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape == (BATCH, 3, 16, 16)
        assert batch.images[:, 2].amin((1, 2)).tolist() == batch.images[:, 2].amax((1, 2)).tolist()
        assert batch.images[:, 2, 0, 0].tolist() == batch.indices.tolist()
        assert batch.targets.tolist() == [place % 5 for place in batch.indices.tolist()]


@pytest.mark.parametrize("epoch", [0, 3])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_batch_does_not_depend_on_the_number_of_workers(workers: int, epoch: int, files: FileSet) -> None:
    assert_equal(epoch_of(training(files, workers), epoch), epoch_of(training(files, 0), epoch))


def test_the_order_is_that_of_resident_images(tmp_path: Path) -> None:
    make_folder(tmp_path, {part: {"cat": 20, "dog": 20} for part in ("train", "val", "test")})

    def batches(on_device: bool, epoch: int) -> list[list[Batch]]:
        data = ImageData(
            *("folder", str(tmp_path)),
            batch_size=16,
            eval_batch_size=7,
            crop="none",
            on_device=on_device,
            num_workers=0,
        )
        data.setup("fit")
        found = [data.train_dataloader(), data.val_dataloader(), data.test_dataloader()]
        found[0].sampler.set_epoch(epoch)
        return [list(loader) for loader in found]

    for epoch in (0, 2):
        for resident, streamed in zip(batches(True, epoch), batches(False, epoch), strict=True):
            assert_equal(resident, streamed)


def test_each_epoch_takes_another_crop_of_the_same_image(files: FileSet) -> None:
    loader = training(files)
    epochs = [by_image(epoch_of(loader, epoch)) for epoch in range(4)]
    for place in range(COUNT):
        assert len({epoch[place].numpy().tobytes() for epoch in epochs}) == 4


def test_the_images_of_a_batch_are_cropped_in_different_places(files: FileSet) -> None:
    seen = {image[:2].numpy().tobytes() for image in by_image(epoch_of(training(files), 0)).values()}
    assert len(seen) == COUNT


def test_crops_have_the_areas_that_inception_was_trained_with(files: FileSet) -> None:
    loader = training(files)
    areas = []
    for epoch in range(30):
        for image in by_image(epoch_of(loader, epoch)).values():
            red, green = (image[k].double().mean(k).diff()[2:-2].mean() for k in (0, 1))
            areas.append(float(red * green) / 36 * 256 / 1600)  # the slope is 6 a pixel of the file
    # a uniform share of 0.08 to 1.0, but for boxes too long for the image, which are mostly the large ones
    assert min(areas) == pytest.approx(0.08, abs=0.03)
    assert max(areas) == pytest.approx(1.0, abs=0.06)
    assert 0.4 < float(np.mean(areas)) < 0.54


def test_an_epoch_depends_on_no_epoch_before_and_on_no_draw_elsewhere(files: FileSet) -> None:
    through = training(files)
    for epoch in range(3):
        epoch_of(through, epoch)
    torch.manual_seed(99)
    expected = epoch_of(through, 3)
    assert_equal(epoch_of(training(files), 3), expected)
    other = by_image(epoch_of(training(files, seed=8), 3))
    assert all(not torch.equal(other[place], image) for place, image in by_image(expected).items())


def test_the_epoch_is_chosen_by_the_first_batch_and_not_by_iter(files: FileSet) -> None:
    loader = training(files)
    expected = epoch_of(loader, 4)
    loader.sampler.set_epoch(0)
    iterator = iter(loader)
    loader.sampler.set_epoch(4)
    assert_equal(list(iterator), expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_two_processes_share_the_batches_of_one_and_take_the_same_crops(workers: int, files: FileSet) -> None:
    alone = epoch_of(training(files), 1)
    shares = [epoch_of(training(files, workers, rank, 2), 1) for rank in range(2)]
    for whole, *parts in zip(alone, *shares, strict=True):
        mine = [set(part.indices.tolist()) for part in parts]
        assert [len(part) for part in mine] == [BATCH // 2] * 2
        assert mine[0] | mine[1] == set(whole.indices.tolist())
        expected = by_image([whole])
        assert all(torch.equal(image, expected[place]) for place, image in by_image(parts).items())


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_takes_each_image_once_and_whole(world_size: int, workers: int, files: FileSet) -> None:
    loaders = [evaluation(files, workers, rank, world_size) for rank in range(world_size)]
    batches = [batch for loader in loaders for batch in loader]
    assert len(batches) == sum(len(loader) for loader in loaders)
    assert sorted(place for batch in batches for place in batch.indices.tolist()) == list(range(COUNT))
    for place, image in by_image(batches).items():
        with Image.open(files.paths[place]) as opened:
            expected = np.array(opened.resize((16, 16), Image.Resampling.BILINEAR))
        assert np.array_equal(image.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize(
    ("crop", "margin", "random"),
    [(None, 256 / 224, True), ("resize", 256 / 224, True), ("pad", 1.0, False), ("none", 1.0, False)],
)
def test_the_crop_decides_what_is_decoded_of_streamed_images(
    crop: Any, margin: float, random: bool, tmp_path: Path
) -> None:
    parts = make_folder(tmp_path, {part: {"cat": 10, "dog": 10} for part in ("train", "val", "test")}, size=(56, 64))
    data = ImageData(
        *("folder", str(tmp_path)), batch_size=20, image_size=28, crop=crop, on_device=False, num_workers=0
    )
    data.setup("fit")

    def middle(part: str) -> list[bytes]:
        side = 56 / margin  # as the cut of 28 pixels lies in the file
        box = (32 - side / 2, 28 - side / 2, 32 + side / 2, 28 + side / 2)
        images = [Image.open(path).resize((28, 28), Image.Resampling.BILINEAR, box) for path, _ in sorted(parts[part])]
        return [np.array(image).transpose(2, 0, 1).tobytes() for image in images]

    def seen(batches: list[Batch]) -> list[bytes]:
        return [image.numpy().tobytes() for _, image in sorted(by_image(batches).items())]

    assert seen(list(data.val_dataloader())) == middle("val")
    assert seen(list(data.test_dataloader())) == middle("test")
    same = [a == b for a, b in zip(seen(list(data.train_dataloader())), middle("train"), strict=True)]
    assert not any(same) if random else all(same)


@pytest.mark.parametrize(("crop", "shifted"), [(None, False), ("pad", True), ("none", False)])
def test_streamed_images_are_shifted_on_the_device_only_where_they_are_padded(
    crop: Any, shifted: bool, tmp_path: Path
) -> None:
    make_folder(tmp_path, {part: {"cat": 16, "dog": 16} for part in ("train", "val", "test")})
    data = ImageData(*("folder", str(tmp_path)), batch_size=32, crop=crop, flip=False, on_device=False, num_workers=0)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    state = SimpleNamespace(training=True, current_epoch=0, global_rank=0, world_size=1, strategy=strategy)
    data.trainer = cast(Trainer, state)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    before, after = data.pipeline.normalise(batch.images), data.on_after_batch_transfer(batch, 0).images
    assert torch.equal(before, after) is not shifted


@pytest.mark.parametrize(("given", "expected"), [(0, 0), (3, 3), (None, None)])
def test_workers_are_as_many_as_asked_for_or_one_a_core(
    given: int | None, expected: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_folder(tmp_path, {part: {"cat": 4, "dog": 4} for part in ("train", "val", "test")})
    for cores, most in ((1, 1), (6, 6), (64, 16)):
        monkeypatch.setattr("os.sched_getaffinity", lambda pid, cores=cores: set(range(cores)))
        asked: list[int] = []

        def made(*args: Any, num_workers: int, asked: list[int] = asked, **settings: Any) -> None:
            asked.append(num_workers)

        monkeypatch.setattr("dasc.data.storage.StreamedLoader", made)
        data = ImageData("folder", str(tmp_path), batch_size=4, on_device=False, num_workers=given)
        data.setup("fit")
        data.train_dataloader()
        assert asked == [most if expected is None else expected]


def ruined(tmp_path: Path, kind: str) -> tuple[FileSet, Path]:
    paths = [save(noise(32, 32, 3, seed=place), tmp_path / f"image {place}.jpg") for place in range(COUNT)]
    path = paths[13]
    if kind == "text":
        path.write_text("no image\nUserError: or is it")
    elif kind == "missing":
        path.unlink()
    else:
        truncate(path)
    return FileSet([str(path) for path in paths], torch.arange(COUNT) % 5), path


def stopped(loader: StreamedLoader) -> str:
    with pytest.raises(UserError) as raised:
        list(loader)
    release(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("kind", ["text", "missing", "truncated"])
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("load", [training, evaluation])
def test_a_broken_file_is_one_sentence_with_its_path(load: Any, workers: int, kind: str, tmp_path: Path) -> None:
    files, path = ruined(tmp_path, kind)
    said = stopped(load(files, workers))
    assert re.fullmatch(rf"{re.escape(str(path))} cannot be read as an image \(.+\): repair or remove it", said)
    assert said.count("image 13.jpg") == 1


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("load", [training, evaluation])
def test_the_broken_files_of_a_batch_are_one_sentence(load: Any, workers: int, tmp_path: Path) -> None:
    files, _ = ruined(tmp_path, "text")
    for path in files.paths:
        Path(path).write_text("no image")
    said = stopped(load(files, workers))
    assert re.fullmatch(r"\d+ files cannot be read as images \((.+\.jpg, ){3}\.\.\.\): repair or remove them", said)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_folder_of_an_odd_name_is_named_as_it_is(workers: int, tmp_path: Path) -> None:
    folder = tmp_path / "Error: a b" / "Ünïcode 'quoted' {0} %s"
    folder.mkdir(parents=True)
    files, path = ruined(folder, "text")
    assert stopped(training(files, workers)).startswith(f"{path} cannot be read as an image (")


def make_set(root: Path) -> dict[str, list[tuple[Path, str]]]:
    return make_folder(root, {part: {"cat": 8, "dog": 8} for part in ("train", "val", "test")}, suffixes=(".jpg",))


def fit(config: Path, data: Path, root: Path, *args: str) -> Path:
    settings = (
        *("--data.dataset=folder", f"--data.root={data}", "--data.batch_size=8", "--epochs_scale=0.5"),
        *("--data.on_device=false", "--data.num_workers=1", f"--trainer.default_root_dir={root}"),
    )
    main(["fit", "--config", str(config), *settings, *args])
    return root / "lightning_logs" / "version_0"


@pytest.fixture(scope="module")
def unbroken(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unbroken")
    make_set(root / "set")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["dasc"])
        return fit(tiny, root / "set", root)


def state(run: Path) -> dict[str, Tensor]:
    return dict(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_run_that_a_broken_image_stopped_goes_on_after_the_repair_as_if_nothing_had_been(
    part: str, unbroken: Path, tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = make_set(tmp_path / "set")[part][11][0]
    intact = path.read_bytes()
    breaking = ("--trainer.callbacks+=tests.support.files.TruncateAfter", f"--trainer.callbacks.path={path}")
    with pytest.raises(SystemExit) as stop:
        fit(tiny, tmp_path / "set", tmp_path, *breaking, "--trainer.callbacks.epoch=0")
    assert stop.value.code == 2
    release(stop.value)
    said = capfd.readouterr().err.strip()
    assert "Traceback" not in said
    expected = rf"dasc fit: {path} cannot be read as an image \(.+\): repair or remove it"
    assert re.fullmatch(expected, said.splitlines()[-1])
    path.write_bytes(intact)
    repaired = fit(tiny, tmp_path / "set", tmp_path, "--ckpt_path=last")
    assert [run.name for run in repaired.parent.iterdir()] == ["version_0"]
    one, other = state(repaired), state(unbroken)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert (repaired / "stages.csv").read_bytes() == (unbroken / "stages.csv").read_bytes()
