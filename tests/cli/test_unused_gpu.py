"""Whatever computes says once, before it does, that there is a GPU which it does not use."""

import pytest

from bottleneck.runtimes import choice

TOLD = "the CPU computes, though there is a GPU (NVIDIA): "


@pytest.fixture
def unused(monkeypatch, head, cli, colours, tmp_path):
    """A card that no framework sees; the files were made before it was built in."""
    monkeypatch.setattr(choice, "gpu_makers", lambda: ("NVIDIA",))
    monkeypatch.setattr(choice, "gpus_seen_by", lambda name: ())
    return head


def commands(head, features, colours, folder):
    return {
        "extract": (colours, "-o", folder / "e.h5"),
        "plan": (colours, "-o", folder / "e.set"),
        "extract --set": ("--set", folder / "e.set", "--part", "1/1"),
        "predict": (head, colours),
        "drift": (head, colours, "-f", features),
        "neighbors": (features, next(colours.rglob("*.png"))),
        "race": (colours, "-o", folder / "r/race.json", "-b", "efficientnet_lite0",
                 "--resize", "crop", "--resize", "squash", "--size", "32"),
        "bench": (colours, "--seconds", "0.01", "--batch-size", "2", "--images", "4"),
    }  # fmt: skip


def test_it_is_told_once_by_all_that_compute(cli, unused, features, colours, tmp_path):
    for name, arguments in commands(unused, features, colours, tmp_path).items():
        done = cli(name.split()[0], *arguments)
        expected = 0 if name == "plan" else 1  # that computes nothing
        assert (name, done.code, done.err.count(TOLD)) == (name, 0, expected), done.err


def test_it_is_not_told_where_the_cpu_was_asked_for(cli, unused, features, colours, tmp_path):
    for name, arguments in commands(unused, features, colours, tmp_path).items():
        done = cli(name.split()[0], *arguments, "--device", "cpu")
        assert (name, done.code, done.err.count(TOLD)) == (name, 0, 0), done.err
