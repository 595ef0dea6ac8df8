from dasc.seeding import mix


def test_every_number_and_their_order_count() -> None:
    seeds = {mix(0), mix(1), mix(0, 0), mix(0, 1), mix(1, 0), mix(0, 0, 1), mix(0, 1, 0), mix(1, 0, 0)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_same_numbers_give_the_same_seed_in_every_process() -> None:
    assert mix(0, 1, 2) == 1772749440416956875
