"""What a comparison says features cost, by the logs that runs leave beside their files."""

import pytest
from fakes import ThreadClock, fake_embedder, sleeping

from bottleneck.comparison.alignment import align
from bottleneck.comparison.leaderboard import cost_of
from bottleneck.extraction import fill_stores
from bottleneck.extraction.plan import MaxFailed
from bottleneck.extraction.result import log_run
from bottleneck.options import ExtractOptions
from bottleneck.progress import Silent
from bottleneck.sources import open_source
from bottleneck.store import FeatureStore
from bottleneck.store.runs import append_run, read_runs, runs_path


@pytest.fixture
def cost(blobs):
    """Return the cost that a file has by these lines of its log."""

    path = blobs("a.h5", n=60)

    def read(*runs):
        runs_path(path).unlink(missing_ok=True)
        for run in runs:
            append_run(path, run)
        return cost_of(align([path]).features[0])

    return read


OLD = {"images": 900, "images_per_second": 3780.0, "device": "cpu"}


def new(images, computed, forward, decode):
    return {
        "images": images,
        "images_per_second": 3780.0,
        "computed": computed,
        "forward_seconds": forward,
        "decode_seconds": decode,
        "device": "gpu",
    }


def test_the_network_alone_counts_and_decoding_is_shown_apart(cost):
    found = cost(new(100, 100, 2.0, 0.5), new(50, 50, 50.0, 50.0))
    assert found.images_per_second == 50
    assert found.decode_milliseconds_per_image == 5
    assert found.device == "gpu"


def test_rows_taken_over_do_not_count_as_computed(cost):
    found = cost(new(1000, 10, 1.0, 0.3), new(2000, 0, 0.0, 0.2))
    assert found.images_per_second == 10
    # Who knows how many images were decoded.
    assert found.decode_milliseconds_per_image is None


def test_a_run_that_only_took_over_says_nothing(cost):
    assert cost(new(2000, 0, 0.0, 0.2)).images_per_second is None


def test_logs_of_older_versions_count_where_there_is_nothing_better(cost):
    found = cost(OLD)
    assert (found.images_per_second, found.decode_milliseconds_per_image) == (3780, None)
    assert cost(OLD, new(10, 10, 1.0, 1.0)).images_per_second == 10


@pytest.mark.parametrize("odd", ["fast", None, True, -1, 0, float("nan"), float("inf")])
def test_lines_with_odd_values_are_passed_over(cost, odd):
    odd_line = {**new(500, 500, odd, odd), "computed": odd}
    assert cost(odd_line, new(10, 10, 1.0, 1.0)).images_per_second == 10
    assert cost({**OLD, "images_per_second": odd}).images_per_second is None


def test_two_networks_cost_the_same_in_one_pass_alone_and_with_rows_taken_over(
    photos, tmp_path, monkeypatch
):
    monkeypatch.setattr("bottleneck.runtimes.step.time", clock := ThreadClock())

    def rates(speeds, **options):
        loaded = [
            (
                fake_embedder(
                    sleeping(ms, clock, threads=1, most=4), identity={"weights": name[:4]}
                ),
                4,
            )
            for name, ms in speeds.items()
        ]
        results = fill_stores(
            open_source([str(photos)]),
            [tmp_path / f"{name}.h5" for name in speeds],
            lambda begun: loaded,
            workers=2,
            max_failed=MaxFailed.parse("10%"),
            progress=Silent(),
            **options,
        )
        for result in results:
            log_run(ExtractOptions((str(photos),), output=result.output), result, 32)
        return [
            cost_of(align([result.output], ["mean"]).features[0]).images_per_second
            for result in results
        ]

    together = rates({"fast": 50, "slow": 200})
    alone = rates({"fast-alone": 50}) + rates({"slow-alone": 200})
    rates({"fast-half": 50, "slow-half": 200}, limit=6)
    half = [FeatureStore.open(tmp_path / f"{name}-half.h5") for name in ("fast", "slow")]
    taken = rates({"fast-rest": 50}, reuse=half[:1]) + rates({"slow-rest": 200}, reuse=half[1:])
    assert read_runs(tmp_path / "fast-rest.h5")[-1]["computed"] == 6
    for found in (together, alone, taken):
        assert found == pytest.approx([20, 5])
