"""Which GPUs there are, by made files of the system, and which of them a process is shown."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from importlib.metadata import distributions
from pathlib import Path
from types import SimpleNamespace

import pytest

from bottleneck import gpus, runtimes
from bottleneck.api import installation
from bottleneck.errors import RuntimeUnavailableError
from bottleneck.options import TrainOptions
from bottleneck.pipeline import NamedStep, run_pipeline
from bottleneck.progress import Silent

VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
    "BOTTLENECK_GIVEN_DEVICES",
)


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that whatever a test does to it is undone
        monkeypatch.delenv(name)


@pytest.fixture
def system(monkeypatch, tmp_path):
    monkeypatch.setattr(gpus.sys, "platform", "linux")
    monkeypatch.setattr(gpus, "Path", lambda path: tmp_path / path.lstrip("/"))
    monkeypatch.setattr(gpus, "rocm_builds", lambda: ())
    (tmp_path / "dev").mkdir()
    return tmp_path


def node(system, number, *, cores=0, simds=0, banks=(), vram=None):
    """Write what the kernel shows of a node, and of its card."""
    (system / "dev/kfd").touch()
    folder = system / "sys/class/kfd/kfd/topology/nodes" / str(number)
    minor = 128 + number
    for bank, (kind, size) in enumerate(banks):
        (folder / f"mem_banks/{bank}").mkdir(parents=True)
        text = f"heap_type {kind}\nsize_in_bytes {size}\nflags 0\nwidth 64\n"
        (folder / f"mem_banks/{bank}/properties").write_text(text)
    folder.mkdir(parents=True, exist_ok=True)
    text = f"cpu_cores_count {cores}\nsimd_count {simds}\ndrm_render_minor {minor}\n"
    (folder / "properties").write_text(text)
    if vram is not None:
        card = system / f"sys/class/drm/renderD{minor}/device"
        card.mkdir(parents=True)
        (card / "mem_info_vram_total").write_text(f"{vram}\n")


MIB, GIB = 1 << 20, 1 << 30


def test_nvidias(system, monkeypatch):
    (system / "dev/dxg").touch()  # any GPU, under Windows
    assert gpus.gpu_makers() == ()
    (system / "usr/lib/wsl/lib").mkdir(parents=True)
    (system / "usr/lib/wsl/lib/libcuda.so.1").touch()
    assert gpus.gpu_makers() == ("NVIDIA",)
    (system / "dev/dxg").unlink()
    assert gpus.gpu_makers() == ()
    (system / "dev/nvidia0").touch()
    assert gpus.gpu_makers() == runtimes.gpu_makers() == ("NVIDIA",)
    assert runtimes.has_gpu()
    for hidden in ("", "-1", " ", "-1,0", "NoDevFiles"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert gpus.gpu_makers() == ()
        assert not runtimes.has_gpu()


def test_a_card_of_amd(system, monkeypatch):
    (system / "dev/nvidia0").touch()
    node(system, 0, cores=16, banks=[(0, 64 * GIB)])
    assert gpus.gpu_makers() == ("NVIDIA",)  # the driver is there, and no GPU
    node(system, 1, simds=304, banks=[(2, 16 * GIB)], vram=17163091968)
    assert gpus.amd_gpus() == (17163091968,)
    assert gpus.gpu_makers() == ("NVIDIA", "AMD")
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # which AMD's libraries heed without the other
    assert gpus.gpu_makers() == ("AMD",)
    monkeypatch.delenv("HIP_VISIBLE_DEVICES")
    assert gpus.gpu_makers() == ()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    for name in ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")
        assert gpus.gpu_makers() == ("NVIDIA",)
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "about",
    [
        {"simds": 8, "banks": [(1, 512 * MIB)]},  # small, whatever card it is
        {"simds": 8, "banks": [(2, 512 * MIB)], "vram": 512 * MIB},
        # A newer kernel tells what it may take of the system's memory.
        {"simds": 40, "banks": [(1, 110 * GIB)], "vram": 512 * MIB},
        {"simds": 44, "cores": 8, "banks": [(0, 16 * GIB)]},  # an older one: both in a node
        {"simds": 8, "banks": [(0, 16 * GIB)]},
    ],
)
def test_the_gpu_of_a_processor_counts_only_for_frameworks_built_for_it(system, monkeypatch, about):
    node(system, 0, **about)
    assert len(gpus.amd_gpus()) == 1
    assert gpus.gpu_makers() == ()
    assert runtimes.unused_gpu("tensorflow", "2.21", "cpu") is None
    monkeypatch.setattr(gpus, "rocm_builds", lambda: ("torch",))
    assert gpus.gpu_makers() == ("AMD",)
    node(system, 1, simds=304, vram=16 * GIB)
    monkeypatch.setattr(gpus, "rocm_builds", lambda: ())
    assert gpus.gpu_makers() == ("AMD",)  # a card is beside it


def test_all_of_the_memory_shared_on_purpose(system):
    """As on an MI300A: there is no memory of the card's alone."""
    node(system, 0, simds=912, banks=[(1, 128 * GIB)], vram=0)
    assert gpus.gpu_makers() == ("AMD",)


def test_amds_driver_where_its_files_cannot_be_read(system):
    (system / "dev/kfd").touch()
    assert gpus.gpu_makers() == ("AMD",)  # nothing is known of it
    node(system, 1, simds=304, vram=16 * GIB)
    (system / "sys/class/kfd/kfd/topology/nodes/1/properties").unlink()  # kept from a container
    assert gpus.gpu_makers() == ()


def test_frameworks_built_for_amd(monkeypatch, tmp_path):
    installed = [f"{one.name} {one.version}".lower() for one in distributions()]
    assert not gpus.rocm_builds() or any("rocm" in one for one in installed)  # really
    places = {name: [str(tmp_path / name)] for name in ("torch", "tensorflow", "jax_plugins")}
    monkeypatch.setattr(gpus, "_places", places.get)
    assert gpus.rocm_builds() == ()
    for folder in ("torch", "tensorflow/python/platform", "jax_plugins/xla_cuda12"):
        (tmp_path / folder).mkdir(parents=True)
    version = tmp_path / "torch/version.py"
    build = tmp_path / "tensorflow/python/platform/build_info.py"
    version.write_text("cuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n")
    build.write_text("build_info = OrderedDict([('is_rocm_build', False)])\n")
    assert gpus.rocm_builds() == ()
    version.write_text("cuda: Optional[str] = None\nhip: Optional[str] = '7.1.25424'\n")
    assert gpus.rocm_builds() == ("torch",)
    build.write_text("build_info = OrderedDict([('is_rocm_build', True)])\n")
    (tmp_path / "jax_plugins/xla_rocm7").mkdir()
    assert gpus.rocm_builds() == ("torch", "tensorflow", "jax")


def shown(monkeypatch, makers, said, gpu):
    """Return CUDA's and HIP's variable for a process that is shown a GPU."""
    monkeypatch.setattr(gpus, "gpu_makers", lambda: makers)
    names = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
    for name in names:
        monkeypatch.delenv(name, raising=False)
        if name in said:
            monkeypatch.setenv(name, said[name])
    found = gpus.one_shown(gpu)
    return tuple(found.get(name) for name in names)


NVIDIA, AMD, BOTH = ("NVIDIA",), ("AMD",), ("NVIDIA", "AMD")


@pytest.mark.parametrize(
    ("makers", "cuda", "hip", "expected"),
    [
        (NVIDIA, None, None, ("1", None)),
        (NVIDIA, "4,7", None, ("7", None)),
        (NVIDIA, " 4, GPU-7 ", None, ("GPU-7", None)),
        # What is said of AMD's does not count NVIDIA's.
        (NVIDIA, None, "", ("1", "")),
        (NVIDIA, None, "-1", ("1", "-1")),
        (NVIDIA, None, "0,1", ("1", "0,1")),
        (NVIDIA, "4,7", "2", ("7", "2")),
        (AMD, None, None, ("1", None)),
        (AMD, "4,7", None, ("7", None)),
        (AMD, None, "2,5", (None, "5")),  # AMD's libraries look at no other then
        (AMD, "4,7", "2,5", ("4,7", "5")),
        (BOTH, None, None, ("1", None)),
        (BOTH, "4,7", "2,5", ("7", "5")),
        ((), None, None, ("1", None)),
    ],
)
def test_a_gpu_is_alone_in_its_process(monkeypatch, makers, cuda, hip, expected):
    said = {"CUDA_VISIBLE_DEVICES": cuda, "HIP_VISIBLE_DEVICES": hip}
    said = {name: value for name, value in said.items() if value is not None}
    assert shown(monkeypatch, makers, said, 1) == expected
    assert shown(monkeypatch, makers, said, None) == ("-1", "-1")  # the CPU's takes hold of none


@pytest.mark.parametrize("listed", ["4,7", "4,7,-1,5", "4,7,,5", "4,7,NoDevFiles"])
def test_no_gpu_is_shown_that_the_user_hides(monkeypatch, listed):
    """CUDA stops at what is none."""
    assert shown(monkeypatch, NVIDIA, {"CUDA_VISIBLE_DEVICES": listed}, 1) == ("7", None)
    with pytest.raises(RuntimeUnavailableError, match=rf"gpu:2.*CUDA_VISIBLE_DEVICES={listed}.* 2"):
        gpus.one_shown(2)


def test_a_process_is_shown_one_and_others_that_it_starts_all(monkeypatch):
    monkeypatch.setattr(gpus, "gpu_makers", lambda: ("NVIDIA",))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7,9")
    before = dict(os.environ)
    assert (gpus.shows_one(), gpus.number_here(2)) == (False, 2)
    for gpu, shown in ((0, "4"), (2, "9")):  # again, where a command has a device
        gpus.show_one(gpu)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == shown
        assert (gpus.shows_one(), gpus.number_here(gpu)) == (True, 0)
        assert gpus.all_shown() == before
        assert gpus.one_shown(1) == {**before, "CUDA_VISIBLE_DEVICES": "7"}
        with gpus.showing_all():
            assert dict(os.environ) == before
        assert os.environ["CUDA_VISIBLE_DEVICES"] == shown
    with pytest.raises(RuntimeUnavailableError, match="gpu:3, but CUDA_VISIBLE_DEVICES=4,7,9"):
        gpus.show_one(3)
    assert dict(os.environ) == before


@pytest.fixture
def finds(monkeypatch):
    """A framework that sees what its process is shown of three GPUs; tells what it was asked."""
    asked = []

    def placed(device):
        asked.append(device)
        shown = os.environ.get("CUDA_VISIBLE_DEVICES", "0,1,2").split(",")
        there = [number for number in shown if int(number) < 3]
        if runtimes.gpu_index(device) is not None and runtimes.gpu_index(device) >= len(there):
            raise RuntimeUnavailableError(f"expected the device {device}", hint="look")
        name = device if device in ("cpu", None) else f"gpu:{runtimes.gpu_index(device)}"
        return runtimes.Placed("torch", "2", name or "gpu:0", scope=nullcontext)

    monkeypatch.setattr(gpus, "gpu_makers", lambda: ("NVIDIA",))
    monkeypatch.setattr(runtimes, "import_module", lambda name: SimpleNamespace(placed=placed))
    seen = ("gpu:0 (A)", "gpu:1 (A)", "gpu:2 (B)")
    monkeypatch.setattr(runtimes.choice, "gpus_seen_by", lambda name: seen)
    return asked


def test_a_device_has_the_number_that_the_user_knows(finds):
    assert runtimes.placed("torch", "gpu:2").name == "gpu:2"  # the process of somebody
    gpus.show_one(2)
    assert runtimes.placed("torch", "gpu:2").name == "gpu:2"
    assert runtimes.placed("torch", "cpu").name == "cpu"
    assert finds == ["gpu:2", "gpu:0", "cpu"]
    gpus.show_one()
    assert runtimes.placed("torch", None).name == "gpu:0"
    gpus.show_one(3)
    with pytest.raises(RuntimeUnavailableError, match=r"gpu:3, but torch sees gpu:0 \(A\), gpu:1"):
        runtimes.placed("torch", "gpu:3")


@pytest.mark.parametrize(
    ("devices", "shown"),
    [([None, None], "0"), (["gpu"], "0"), (["gpu:0", "cpu"], "0"), (["gpu:1"], None)],
)
def test_a_pipeline_that_names_another_gpu_is_shown_all(finds, tmp_path, devices, shown):
    options = [
        TrainOptions(__file__, str(tmp_path / f"{number}.head"), device=device)
        for number, device in enumerate(devices)
    ]
    steps = [NamedStep(one.output, "train", one) for one in options]
    found = []

    def train(*, output, **given):
        Path(output).touch()
        found.append(os.environ.get("CUDA_VISIBLE_DEVICES"))
        return SimpleNamespace(to_json=dict)

    gpus.show_one()
    for _ in run_pipeline(steps, {"train": train}, Silent(), force=True):
        pass
    assert found == [shown] * len(steps)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


@pytest.mark.parametrize("said", ["", "{}", "[1]", "no JSON", '{"given": 3}'])
def test_what_is_not_ours_is_not_heeded(monkeypatch, said):
    monkeypatch.setattr(gpus, "gpu_makers", lambda: ("NVIDIA",))
    monkeypatch.setenv("BOTTLENECK_GIVEN_DEVICES", said)
    assert not gpus.shows_one()
    gpus.show_one(1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"


def test_somebody_chooses_anew_in_a_process_that_ours_starts(monkeypatch):
    monkeypatch.setattr(gpus, "gpu_makers", lambda: ("NVIDIA",))
    gpus.show_one()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert (gpus.shows_one(), gpus.number_here(1)) == (False, 1)
    assert gpus.all_shown()["CUDA_VISIBLE_DEVICES"] == "3,5"
    gpus.show_one(1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"


def test_without_a_gpu_nothing_is_changed(monkeypatch):
    monkeypatch.setattr(gpus, "gpu_makers", lambda: ())
    before = dict(os.environ)
    gpus.show_one()
    assert dict(os.environ) == before


COMMAND = """
import json, os, sys
from bottleneck import api, gpus
from bottleneck.cli.main import main

def computed(*sources, **options):
    shown = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")}
    print(json.dumps([shown, sorted({"jax", "tensorflow", "torch"} & sys.modules.keys())]))
    sys.exit(0)

gpus.gpu_makers = lambda: ("NVIDIA",)
for name in ("extract_many", "graph", "predict", "train", "finetune"):
    setattr(api, name, computed)
main()
"""


@pytest.mark.parametrize(
    ("command", "said", "expected"),
    [
        ("extract a -o b.h5", {}, "0"),
        ("extract a -o b.h5 --device gpu", {}, "0"),
        ("extract a -o b.h5 --device gpu:2", {}, "2"),
        ("extract a -o b.h5 --device gpu:1 --device gpu:2", {}, "1"),
        ("extract a -o b.h5", {"CUDA_VISIBLE_DEVICES": "4,7"}, "4"),
        ("extract a -o b.h5", {"BOTTLENECK_EXTRACT_DEVICES": "gpu:1"}, "1"),
        ("extract a -o b.h5 --device gpu:1", {"CUDA_VISIBLE_DEVICES": "4,GPU-7"}, "GPU-7"),
        ("graph a.h5 -o b.npz --device gpu:1", {}, "1"),
        ("train a.h5 -o b.head --engine keras", {}, "0"),
        ("finetune a.head b -o c.keras", {}, "0"),
        ("extract a -o b.h5 --device cpu", {}, "0"),  # a decoder may use it
        ("extract a -o b.h5 --device cpu --device gpu:1", {}, "1"),
        ("predict a.head b", {"HIP_VISIBLE_DEVICES": ""}, "0"),
    ],
)
def test_a_command_is_shown_the_gpu_that_it_computes_on(command, said, expected):
    """Before it imports a framework: afterwards nothing hides the others."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **said}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *command.split()],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    shown, imported = json.loads(done.stdout)
    hip = said.get("HIP_VISIBLE_DEVICES")
    assert shown == {"CUDA_VISIBLE_DEVICES": expected, "HIP_VISIBLE_DEVICES": hip}
    assert imported == []


def test_a_command_names_a_gpu_that_is_not_shown():
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "4,7"}
    command = ["extract", "a", "-o", "b.h5", "--device", "gpu:2"]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *command],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    told = "error: expected the device gpu:2, but CUDA_VISIBLE_DEVICES=4,7 shows 2\n"
    assert (done.returncode, done.stderr) == (RuntimeUnavailableError.exit_code, told)


CARD = ("gpu:0 (A)", "gpu:1 (B)")


@pytest.mark.parametrize(
    ("makers", "own", "builds", "seen", "expected"),
    [
        (("NVIDIA",), (), (), CARD, ("ok", "gpu:0 (A), gpu:1 (B)")),  # all, not the one shown here
        (("NVIDIA",), (), (), (), ("problem", "the CPU is used, though there is one of NVIDIA")),
        (("AMD",), (16 * GIB,), ("torch",), CARD[:1], ("ok", "gpu:0 (A)")),
        (("AMD",), (16 * GIB,), ("torch",), (), ("problem", "though there is one of AMD")),
        # Nothing that is installed could use it.
        (("AMD",), (16 * GIB,), (), (), ("note", "the CPU is used: AMD's are used by PyTorch")),
        ((), (512 * MIB,), (), (), ("note", "the processor's own, which is not used: AMD's are")),
        ((), (), (), (), ("note", "none: the CPU is used")),
    ],
)
def test_doctor_tells_what_there_is_and_what_is_wrong(
    monkeypatch, makers, own, builds, seen, expected
):
    monkeypatch.setattr(installation, "amd_gpus", lambda: own)
    monkeypatch.setattr(installation, "rocm_builds", lambda: builds)
    monkeypatch.setattr(runtimes, "gpu_makers", lambda: makers)
    monkeypatch.setattr(runtimes, "gpus_seen_by", lambda name: seen if name == "jax" else ())
    monkeypatch.setattr(runtimes, "installed", lambda: ("jax", "tensorflow"))
    monkeypatch.setattr(runtimes, "choose", lambda: "jax")
    here = type("Runtime", (), {"devices": staticmethod(lambda: ["cpu"])})
    monkeypatch.setattr(runtimes, "get", lambda: here)
    found = {one.what: one for one in installation._devices()}
    state, detail = expected
    assert found["GPU"].state == state
    assert detail in found["GPU"].detail
    if makers:
        assert found["jax and GPUs"].detail == (f"sees {', '.join(seen)}" if seen else "sees none")
