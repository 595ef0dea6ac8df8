import itertools

import torch

from dasc.seeding import Stream, mix, seed_draws


def test_every_number_and_their_order_count() -> None:
    numbers = [(0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    seeds = {mix(Stream.ORDER, *each) for each in numbers}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_no_two_streams_coincide() -> None:
    places = [place for length in range(1, 5) for place in itertools.product(range(6), repeat=length)]
    seeds = {mix(stream, *place) for stream in Stream for place in places}
    assert len(seeds) == len(Stream) * len(places)


def test_the_same_numbers_give_the_same_seed_in_every_process() -> None:
    # blake2b of "('order', 0, 1, 2)", 8 bytes, shifted by one bit
    assert mix(Stream.ORDER, 0, 1, 2) == 8193344647573437370


def test_a_network_draws_as_after_torch_manual_seed() -> None:
    torch.manual_seed(123)
    expected = torch.rand(5), torch.nn.functional.dropout(torch.ones(50))
    torch.rand(7)
    seed_draws(123, torch.device("cpu"))
    assert torch.equal(torch.rand(5), expected[0])
    assert torch.equal(torch.nn.functional.dropout(torch.ones(50)), expected[1])
