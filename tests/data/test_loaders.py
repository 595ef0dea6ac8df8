import pytest
import torch

from dasc.data import Batch, EvaluationOrder, ImageSet, ResidentLoader, TrainingOrder


def numbered(count: int) -> ImageSet:
    numbers = torch.arange(count)
    low, high = numbers % 256, numbers // 256
    images = torch.stack([low, high, torch.zeros_like(low)], dim=1).to(torch.uint8)
    return ImageSet(images[:, :, None, None].expand(-1, -1, 2, 2).contiguous(), numbers % 10)


def training(images: ImageSet, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> ResidentLoader:
    return ResidentLoader(images, TrainingOrder(len(images.targets), batch_size, seed, rank, world_size))


def evaluation(images: ImageSet, batch_size: int, rank: int = 0, world_size: int = 1) -> ResidentLoader:
    return ResidentLoader(images, EvaluationOrder(len(images.targets), batch_size, rank, world_size))


def epoch_of(loader: ResidentLoader, epoch: int) -> list[Batch]:
    loader.sampler.set_epoch(epoch)
    return list(loader)


def order_of(loader: ResidentLoader, epoch: int) -> list[int]:
    return [index for batch in epoch_of(loader, epoch) for index in batch.indices.tolist()]


@pytest.mark.parametrize(("count", "batch_size", "batches"), [(100, 32, 3), (96, 32, 3), (300, 7, 42)])
def test_an_epoch_has_no_image_twice_and_only_full_batches(count: int, batch_size: int, batches: int) -> None:
    loader = training(numbered(count), batch_size, seed=0)
    epoch = epoch_of(loader, 0)
    indices = [index for batch in epoch for index in batch.indices.tolist()]
    assert len(set(indices)) == len(indices) == batches * batch_size
    assert [len(batch.indices) for batch in epoch] == [batch_size] * batches
    assert [batch.number for batch in epoch] == list(range(batches))
    assert len(loader) == batches


def test_a_batch_holds_the_images_and_classes_of_its_indices() -> None:
    for batch in training(numbered(600), 50, seed=0):
        value = batch.images[:, 0, 0, 0].long() + 256 * batch.images[:, 1, 1, 1].long()
        assert value.tolist() == batch.indices.tolist()
        assert batch.targets.tolist() == [index % 10 for index in batch.indices.tolist()]


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_shares_of_all_processes_are_the_batch_of_one_process(world_size: int) -> None:
    images = numbered(150)
    alone = epoch_of(training(images, 32, seed=5), 2)
    shares = [epoch_of(training(images, 32, 5, rank, world_size), 2) for rank in range(world_size)]
    for number, batch in enumerate(alone):
        mine = [set(share[number].indices.tolist()) for share in shares]
        assert [len(part) for part in mine] == [32 // world_size] * world_size
        assert set.union(*mine) == set(batch.indices.tolist())
    assert {len(share) for share in shares} == {len(alone)}


def test_each_epoch_has_another_order() -> None:
    loader = training(numbered(64), 64, seed=0)
    assert len({tuple(order_of(loader, epoch)) for epoch in range(5)}) == 5


def test_an_order_depends_on_seed_and_epoch_and_on_no_epoch_before() -> None:
    images = numbered(64)
    through, direct = training(images, 16, seed=1), training(images, 16, seed=1)
    for epoch in range(3):
        torch.manual_seed(epoch)
        order_of(through, epoch)
    torch.manual_seed(99)
    assert order_of(through, 3) == order_of(direct, 3)
    assert order_of(through, 3) != order_of(training(images, 16, seed=2), 3)


def test_the_order_is_chosen_by_the_first_batch_and_not_by_iter() -> None:
    loader = training(numbered(64), 16, seed=0)
    expected = order_of(loader, 4)
    loader.sampler.set_epoch(0)
    iterator = iter(loader)
    loader.sampler.set_epoch(4)
    assert [index for batch in iterator for index in batch.indices.tolist()] == expected


@pytest.mark.parametrize(
    ("count", "ranks", "batch_size", "batches"),
    [(287, 3, 100, 3), (360, 1, 1024, 1), (360, 2, 100, 4), (10, 4, 8, 2), (7, 2, 3, 3)],
)
def test_evaluation_sees_each_image_once_in_equally_many_batches(
    count: int, ranks: int, batch_size: int, batches: int
) -> None:
    loaders = [evaluation(numbered(count), batch_size, rank, ranks) for rank in range(ranks)]
    shares = [list(loader) for loader in loaders]
    seen = [index for share in shares for batch in share for index in batch.indices.tolist()]
    assert sorted(seen) == list(range(count))
    assert [len(share) for share in shares] == [len(loader) for loader in loaders] == [batches] * ranks
    sizes = {len(batch.indices) for share in shares for batch in share}
    assert max(sizes) - min(sizes) <= 1


def test_evaluation_in_one_process_keeps_the_order_of_the_images() -> None:
    images = numbered(287)
    batches = list(evaluation(images, 100))
    assert torch.equal(torch.cat([batch.images for batch in batches]), images.images)
    assert torch.equal(torch.cat([batch.targets for batch in batches]), images.targets)
    assert [batch.number for batch in batches] == [0, 1, 2]


def test_a_loader_resumes_within_the_epoch_that_was_interrupted_and_in_no_other() -> None:
    images = numbered(100)
    whole, interrupted = training(images, 16, seed=0), training(images, 16, seed=0)
    interrupted.sampler.set_epoch(2)
    iterator = iter(interrupted)
    taken = [next(iterator) for _ in range(4)]
    assert interrupted.state_dict() == {"epoch": 2, "batches": 4}
    resumed = training(images, 16, seed=0)
    resumed.load_state_dict(interrupted.state_dict())
    rest = epoch_of(resumed, 2)
    assert [batch.number for batch in rest] == [4, 5]
    expected = epoch_of(whole, 2)
    for batch, other in zip([*taken, *rest], expected, strict=True):
        assert batch.indices.tolist() == other.indices.tolist()
    assert len(epoch_of(resumed, 2)) == 6  # once only
    resumed.load_state_dict({"epoch": 2, "batches": 4})
    assert len(epoch_of(resumed, 3)) == 6


def test_a_loader_that_had_returned_all_batches_has_none_left() -> None:
    loader = training(numbered(64), 16, seed=0)
    loader.load_state_dict({"epoch": 1, "batches": 4})
    assert epoch_of(loader, 1) == []


def test_a_fixed_order_is_that_of_the_first_epoch() -> None:
    order = TrainingOrder(64, 16, seed=3, fixed=True)
    first = torch.cat(TrainingOrder(64, 16, seed=3).batches())
    for epoch in range(3):
        order.set_epoch(epoch)
        assert torch.equal(torch.cat(order.batches()), first)
