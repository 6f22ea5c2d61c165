"""What memory there is: of the machine, or less by the limit of a container."""

import pytest

from bottleneck import memory


@pytest.fixture
def told(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUP_FOLDER", tmp_path)
    (tmp_path / "meminfo").write_text("MemTotal: 4000 kB\nMemAvailable: 3000 kB\nHugePages: 0\n")
    return tmp_path


def test_of_a_machine_it_is_what_is_free_or_gives_way(told):
    assert memory.available_memory() == 3000 * 1024


@pytest.mark.parametrize(
    ("folder", "limit", "used"),
    [
        ("", "memory.max", "memory.current"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ],
)
def test_a_container_has_what_its_limit_leaves(told, folder, limit, used):
    group = told / folder
    group.mkdir(exist_ok=True)
    (group / limit).write_text("1000000\n")
    (group / used).write_text("700000\n")
    (group / "memory.stat").write_text("anon 600000\ninactive_file 50000\n")
    assert memory.available_memory() == 350_000
    (group / used).write_text("1200000\n")
    assert memory.available_memory() == 0
    (group / limit).write_text("max\n" if not folder else "9223372036854771712\n")
    assert memory.available_memory() == 3000 * 1024


def test_what_is_not_told_is_no_limit(told, monkeypatch):
    (told / "meminfo").unlink()
    monkeypatch.setattr(memory.os, "sysconf", lambda name: {"SC_AVPHYS_PAGES": 7}.get(name, 4096))
    assert memory.available_memory() == 7 * 4096


def test_of_this_machine_it_is_some():
    assert 1 << 20 < memory.available_memory() < float("inf")
