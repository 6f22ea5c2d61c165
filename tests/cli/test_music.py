"""``pipelines/music.toml`` on sounds that are made here, and what makes its own."""

import csv
import importlib.util
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from sounds import written

ROOT = Path(__file__).parents[2]


def sound(kind, seed):
    """A low hum or a high hiss."""
    rng = np.random.default_rng(seed)
    time = np.arange(16_000) / 16_000
    hum = sum(np.sin(2 * np.pi * hertz * time) for hertz in rng.uniform(60, 200, 3)) / 4
    hiss = np.diff(rng.normal(0, 0.3, 16_001))
    return written((hum if kind == "hum" else hiss)[:, None], 16_000, "flac")


@pytest.mark.skipif(find_spec("musicnn") is None, reason="pip install --no-deps musicnn")
def test_the_pipeline_of_sounds_ends_well(cli, tmp_path):
    for kind in ("hum", "hiss"):
        (tmp_path / "music" / kind).mkdir(parents=True)
        for i in range(12):
            (tmp_path / f"music/{kind}/{i}.flac").write_bytes(sound(kind, i))
    text = (ROOT / "pipelines/music.toml").read_text()
    text = text.replace("data/music", "music").replace("runs/music", "out").replace('".."', '"."')
    (tmp_path / "music.toml").write_text(text)
    done = cli("run", tmp_path / "music.toml")
    assert done.code == 0, done.err
    with (tmp_path / "out/answers.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 24
    assert all(row["key"].startswith(row["label"]) for row in rows)
    assert cli("run", tmp_path / "music.toml").out.count("up to date") == 3


def test_samples_are_laid_out_by_family(tmp_path):
    spec = importlib.util.spec_from_file_location("make_music", ROOT / "data/make_music.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "from").mkdir()
    for name, count in (("tabla", 12), ("sn", 4), ("misc", 11)):
        for i in range(count):
            (tmp_path / f"from/{name}_{i}.flac").write_bytes(b"x")
    assert module.make(tmp_path / "to", tmp_path / "from") == {"tabla": 12}
    assert len(list((tmp_path / "to/tabla").iterdir())) == 12
