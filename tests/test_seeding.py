import itertools

from dasc.seeding import Stream, mix


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
