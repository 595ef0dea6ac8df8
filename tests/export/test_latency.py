import gc
import time
from collections.abc import Callable

import pytest
import torch
from torch import nn

from dasc.export.latency import (
    Latency,
    Measured,
    dense_like,
    gain_line,
    latency_table,
    measure,
    run_of_network,
    runs_of,
    summarise,
    torch_threads,
)


def _flat(milliseconds: float, spread: float = 0.1) -> Latency:
    return Latency(milliseconds, milliseconds - spread, milliseconds + spread, 100)


def _row(name: str, size: int | None, first: float, second: float) -> Measured:
    return Measured(name, size, {1: _flat(first), 64: _flat(second)})


class _Clock:
    """A clock that a candidate moves on by its known duration."""

    def __init__(self) -> None:
        self.now = 0
        self.calls: list[str] = []

    def __call__(self) -> int:
        return self.now

    def candidate(self, name: str, milliseconds: float) -> Callable[[], None]:
        def run() -> None:
            self.calls.append(name)
            self.now += round(milliseconds * 1e6)

        return run


def test_latencies_of_functions_that_sleep_are_those_of_their_sleep() -> None:
    found = measure({"short": lambda: time.sleep(0.002), "long": lambda: time.sleep(0.02)}, seconds=0.3, rounds=5)
    assert 2 <= found["short"].median_ms < 15
    assert 20 <= found["long"].median_ms < 60
    assert not found["short"].overlaps(found["long"])


def test_the_median_and_quartiles_are_of_the_timed_calls() -> None:
    found = summarise([5_000_000, 1_000_000, 4_000_000, 3_000_000, 2_000_000])
    assert found == Latency(median_ms=3.0, lower_ms=2.0, upper_ms=4.0, repeats=5)


def test_measuring_takes_about_the_time_that_is_given() -> None:
    clock = _Clock()
    runs = {name: clock.candidate(name, duration) for name, duration in (("a", 2), ("b", 30), ("c", 100))}
    found = measure(runs, seconds=10, clock=clock)
    assert 6e9 < clock.now < 13e9
    assert all(latency.repeats >= 20 for latency in found.values())
    assert [found[name].median_ms for name in runs] == [2, 30, 100]


def test_candidates_that_are_slower_than_the_time_that_is_given_run_the_fewest_rounds() -> None:
    clock = _Clock()
    found = measure({"slow": clock.candidate("slow", 5000)}, seconds=1, min_rounds=5, clock=clock)
    assert found["slow"].repeats == 5


def test_the_rounds_of_slow_candidates_fit_the_time_that_is_given() -> None:
    clock = _Clock()
    found = measure({"slow": clock.candidate("slow", 100)}, seconds=2, min_rounds=1, clock=clock)
    assert found["slow"].repeats == 10  # and an untimed call before each
    assert clock.now < 2.5e9


@pytest.mark.parametrize(("milliseconds", "repeats"), [(10, 80), (0.001, 1000)])
def test_calls_of_a_turn_fill_its_time_up_to_a_bound(milliseconds: float, repeats: int) -> None:
    clock = _Clock()
    found = measure({"a": clock.candidate("a", milliseconds)}, seconds=1, rounds=20, clock=clock)
    assert found["a"].repeats == repeats
    assert clock.now <= 1.02e9  # an untimed call before each turn; two calls before all


def test_the_first_call_after_another_candidate_is_not_timed() -> None:
    clock = _Clock()

    def candidate(name: str) -> Callable[[], None]:
        def run() -> None:
            clock.now += 1_000_000 if clock.calls[-1:] == [name] else 9_000_000
            clock.calls.append(name)

        return run

    found = measure({"a": candidate("a"), "b": candidate("b")}, seconds=0.2, rounds=5, clock=clock)
    assert [(latency.median_ms, latency.upper_ms) for latency in found.values()] == [(1, 1), (1, 1)]


def test_each_round_runs_every_candidate() -> None:
    clock = _Clock()
    measure({"a": clock.candidate("a", 1), "b": clock.candidate("b", 1)}, seconds=0.05, rounds=4, clock=clock)
    turns = [name for name, before in zip(clock.calls, ["", *clock.calls], strict=False) if name != before]
    assert turns == ["a", "b"] * 5  # the first timings, and four rounds


def test_a_slow_period_of_the_machine_affects_all_candidates_alike() -> None:
    clock = _Clock()
    factor = {False: 1, True: 10}

    def run() -> None:
        clock.now += 1_000_000 * factor[300e6 < clock.now < 700e6]

    found = measure({"a": run, "b": run}, seconds=1, rounds=50, clock=clock)
    assert found["a"].overlaps(found["b"])


def test_the_garbage_collector_does_not_run_while_timing() -> None:
    states = []
    measure({"a": lambda: states.append(gc.isenabled())}, seconds=0.001, rounds=1)
    assert set(states) == {False}
    assert gc.isenabled()


def test_a_run_that_fails_leaves_the_garbage_collector_enabled() -> None:
    def fail() -> None:
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        measure({"a": fail})
    assert gc.isenabled()


def test_a_candidate_runs_as_many_images_as_its_batch_size() -> None:
    shapes = []

    def run(images: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(images.shape))
        return images

    runs = runs_of(run, torch.zeros(64, 3, 8, 8))
    for call in runs.values():
        call()
    assert list(runs) == [1, 64]
    assert shapes == [(1, 3, 8, 8), (64, 3, 8, 8)]


def test_a_network_is_run_without_gradients() -> None:
    outputs = run_of_network(nn.Linear(3, 2))(torch.zeros(4, 3))
    assert outputs.is_inference()


def test_the_threads_of_torch_are_restored() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_a_dense_network_has_random_values_in_place_of_the_zeros() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 4))
    conv, linear = network[0], network[3]
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        conv.weight[:4] = 0
        linear.weight.zero_()
    pruned = {name: value.clone() for name, value in network.state_dict().items()}
    dense = dense_like(network).state_dict()
    for name, value in pruned.items():
        assert torch.equal(network.state_dict()[name], value)
        assert dense[name].shape == value.shape
        if name in ("0.weight", "3.weight"):
            assert (dense[name] != 0).all()
            assert torch.equal(dense[name][value != 0], value[value != 0])
        else:
            assert torch.equal(dense[name], value)
    assert 0.5 < dense["0.weight"][:4].std() / conv.weight[4:].std() < 2
    again, other = dense_like(network).state_dict(), dense_like(network, seed=1).state_dict()
    assert torch.equal(again["3.weight"], dense["3.weight"])
    assert not torch.equal(other["3.weight"], dense["3.weight"])


def test_the_table_has_bytes_and_spreads() -> None:
    rows = [_row("dense.onnx", 1_157_043, 0.79, 30.5), _row("ResNet in torch", None, 2.0, 40.0)]
    assert latency_table(rows) == [
        "file                 bytes             batch 1, ms         batch 64, ms",
        "dense.onnx       1,157,043  0.790 (0.690 to 0.890)  30.5 (30.4 to 30.6)",
        "ResNet in torch             2.000 (1.900 to 2.100)  40.0 (39.9 to 40.1)",
        "ms: median (first to third quartile)",
    ]


def test_intervals_that_overlap_are_no_measurable_difference() -> None:
    dense, float32, int8 = _row("d", 1000, 5, 50), _row("z", 1000, 4.9, 50.1), _row("q", 310, 5.1, 50)
    assert gain_line(float32, dense, int8=int8, sparse_share=0.414) == (
        "zeros: no measurable difference in time from the dense network (no speed from zeros), 41 % of its bytes as a "
        "sparse file; int8: no measurable difference in time from the float32 file, 31 % of its bytes"
    )


def test_a_difference_below_half_a_percent_is_none() -> None:
    dense, float32 = (Measured("", 1000, {1: _flat(time, spread=0.001)}) for time in (5, 5.02))
    assert "no measurable difference" in gain_line(float32, dense)
    slower = Measured("", 1000, {1: _flat(5.1, spread=0.001)})
    assert gain_line(slower, dense).startswith("zeros: 1.02x the time of the dense network at batch 1 (no speed")


def test_each_batch_size_has_its_own_factor() -> None:
    dense, float32, int8 = _row("d", 2000, 5, 50), _row("z", 1000, 4.9, 49), _row("q", 290, 4.95, 98)
    assert gain_line(float32, dense, int8=int8) == (
        "zeros: no measurable difference in time from the dense network at batch 1, 0.98x the time at batch 64 "
        "(no speed from zeros); int8: no measurable difference in time from the float32 file at batch 1, "
        "2.00x the time at batch 64, 29 % of its bytes"
    )
    assert "int8: 0.51x the time of the float32 file at batch 1, 2.00x the time at batch 64" in gain_line(
        float32, dense, int8=_row("q", 290, 2.5, 98)
    )


def test_a_network_that_its_zeros_make_faster_is_reported_so() -> None:
    assert gain_line(_row("z", 1000, 2.5, 25), _row("d", 1000, 5, 50)) == (
        "zeros: 0.50x the time of the dense network at batch 1, 0.50x the time at batch 64"
    )


def test_channels_are_compared_with_the_dense_network_and_zeros_with_the_smaller_one() -> None:
    original, without_zeros = _row("o", 1000, 8, 80), _row("d", 260, 4, 36)
    assert gain_line(_row("z", 260, 4, 36), without_zeros, original, sparse_share=0.45) == (
        "channels: 0.50x the time of the dense network at batch 1, 0.45x the time at batch 64, 26 % of its bytes; "
        "zeros: no measurable difference in time from the network without zeros (no speed from zeros), 45 % of its "
        "bytes as a sparse file"
    )
    channels = "channels: 0.50x the time of the dense network at batch 1, 0.45x the time at batch 64, 26 % of its bytes"
    assert gain_line(without_zeros, None, original) == channels


def test_a_dense_network_has_no_line() -> None:
    assert gain_line(_row("d", 1000, 5, 50)) == ""
