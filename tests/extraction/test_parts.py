"""Several machines, one list: parts are disjoint, and joined they are the file of one run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from fakes import write_png

import bottleneck
from bottleneck.errors import OptionError
from bottleneck.extraction.plan import MaxFailed, Part
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore

PAGE = Path(__file__).parents[2] / "docs/machines.md"


@pytest.mark.parametrize("images", [1, 5, 12, 1000])
@pytest.mark.parametrize("of", [1, 2, 3, 7, 12])
def test_parts_are_disjoint_and_whole(images, of):
    rows = [Part.parse(f"{number}/{of}", None).rows(images) for number in range(1, of + 1)]
    assert np.array_equal(np.sum(rows, axis=0), np.ones(images))
    sizes = np.sum(rows, axis=1)
    assert sizes.max() - sizes.min() <= 1


def test_views_of_an_image_stay_together():
    rows = Part.parse("2/3", None).rows(7, views=4)
    assert [*np.flatnonzero(rows)] == [*range(2 * 4, 4 * 4)]


def test_ranges():
    rows = Part.parse(None, "0-2, 5-6").rows(7)
    assert [*np.flatnonzero(rows)] == [0, 1, 5]
    with pytest.raises(OptionError, match="within 7, got 5-8"):
        Part.parse(None, "5-8").rows(7)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/4/2", ""])
def test_a_part_that_is_none(text):
    with pytest.raises(OptionError, match="1/8 to 8/8"):
        Part.parse(text, None)


@pytest.mark.parametrize("text", ["3", "3-3", "5-2", "1-2,", "a-b", "-1-2"])
def test_ranges_that_are_none(text):
    with pytest.raises(OptionError, match="expected --ranges"):
        Part.parse(None, text)


def test_not_both():
    with pytest.raises(OptionError, match="got both"):
        Part.parse("1/2", "0-1")


def everything(path):
    """Read what a file holds, by h5py alone."""
    with h5py.File(path) as file:
        found = {}
        file.visititems(
            lambda name, item: found.update({name: item[()]} if hasattr(item, "dtype") else {})
        )
        return found


def test_joined_parts_are_the_file_of_one_run(photos, run, tmp_path):
    (photos / "train/bee/broken.png").write_bytes(b"no image")
    whole = run(photos, tmp_path / "whole.h5")
    parts = []
    for number in (3, 1, 2):
        result = run(photos, tmp_path / f"{number}.h5", part=Part(number, 3))
        assert result.ok + result.failed + result.left_to_others == whole.rows
        assert result.pending == 0
        parts.append(tmp_path / f"{number}.h5")
    assert sum(int(FeatureStore.open(path).done.sum()) for path in parts) == whole.ok
    joined = bottleneck.merge(parts, tmp_path / "joined.h5")
    assert (joined.pending, joined.rows) == (0, whole.rows)
    mine, theirs = everything(tmp_path / "joined.h5"), everything(tmp_path / "whole.h5")
    assert {*mine} == {*theirs}
    for name, values in theirs.items():
        # The stand-in's batches do not change its features; real ones may in the last bits.
        assert np.array_equal(mine[name], values), name


def test_a_part_is_resumed_and_leaves_the_others_alone(photos, run, tmp_path):
    first = run(photos, part=Part(1, 2), limit=2)
    assert (first.ok, first.pending, first.left_to_others) == (2, 4, 6)
    again = run(photos, part=Part(1, 2))
    assert (again.ok, again.already_done, again.pending) == (4, 2, 0)
    assert run(photos, part=Part(1, 2)).ok == 0
    rest = run(photos)
    assert (rest.ok, rest.left_to_others) == (6, 0)


def test_what_failed_is_tried_again_in_its_part_only(photos, run, tmp_path):
    bad = [*sorted(photos.rglob("*.png"))]
    for path in (bad[0], bad[-1]):
        path.write_bytes(b"no image")
    assert run(photos).failed_total == 2
    first, last = bad[0], bad[-1]
    for path in (first, last):
        write_png(path, np.full((4, 4, 3), 9))
    result = run(photos, part=Part(1, 2), retry_failed=True)
    assert (result.ok, result.failed_total) == (1, 1)
    status = FeatureStore.open(result.output).status
    assert np.count_nonzero(status > RowStatus.DONE) == 1


def test_the_share_that_may_fail_is_of_the_part(photos, run):
    """One of three images is more than a fifth; of twelve it is not."""
    sorted(photos.rglob("*.png"))[0].write_bytes(b"no image")
    order = FeatureStore.open(run(photos, photos.parent / "all.h5").output)
    bad = int(np.flatnonzero(order.status > RowStatus.DONE)[0])
    part = Part(bad // 3 + 1, 4)
    allowed = MaxFailed.parse("20%")
    assert not run(photos, photos.parent / "again.h5", max_failed=allowed).too_many_failed
    result = run(photos, photos.parent / "part.h5", part=part, max_failed=allowed)
    assert (result.failed_total, result.too_many_failed) == (1, True)


# The command with a network that needs no framework.
RUNNER = """
from fakes import fake_embedder
from bottleneck.cli.main import main
from bottleneck.extraction import run

if __name__ == "__main__":
    run.build_embedder = lambda **_: fake_embedder()
    main()
"""

SYSTEMS = {
    "SLURM": [{"SLURM_ARRAY_TASK_ID": str(n), "SLURM_ARRAY_TASK_COUNT": "3"} for n in (1, 2, 3)],
    "Kubernetes": [{"JOB_COMPLETION_INDEX": str(n), "PARTS": "3"} for n in range(3)],
    "SkyPilot": [{"SKYPILOT_NODE_RANK": str(n), "SKYPILOT_NUM_NODES": "3"} for n in range(3)],
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_job_scripts_do_everything_once(system, tmp_path):
    """The scripts of the guide, each task in a process of its own, all at the same time."""
    section = PAGE.read_text().partition(f"\n## {system}\n")[2].partition("\n## ")[0]
    script = re.search(r"```bash\n(.*?)```", section, re.DOTALL)[1]
    images = np.random.default_rng(0).integers(0, 255, (7, 8, 8, 3))
    for number, pixels in enumerate(images):
        write_png(tmp_path / f"photos/{number}.png", pixels)
    fake = tmp_path / "bin/bottleneck"
    fake.parent.mkdir()
    fake.write_text(f"#!{sys.executable}\n{RUNNER}")
    fake.chmod(0o755)
    env = os.environ | {
        "PATH": f"{fake.parent}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(Path(bottleneck.__file__).parents[1]), *sys.path]),
    }
    tasks = [
        subprocess.Popen(["bash", "-euc", script], cwd=tmp_path, env=env | task)
        for task in SYSTEMS[system]
    ]
    assert [task.wait(120) for task in tasks] == [0, 0, 0]
    parts = sorted(tmp_path.glob("part-*.h5"))
    done = np.sum([FeatureStore.open(path).done for path in parts], axis=0)
    assert [*done] == [1] * 7
    assert bottleneck.merge(parts, tmp_path / "photos.h5").pending == 0
