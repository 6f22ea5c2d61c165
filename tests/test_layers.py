"""The structure of the package, enforced: imports go down, heavy ones come late."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bottleneck"

# From the ground up. A module may import from rows below its own, and from its own package.
LAYERS = (
    {"status", "progress"},
    {"cores", "errors", "fingerprint", "memory", "packed", "process_wide"},
    {"location", "targets", "declare", "frames", "gpus", "exhaustion", "npy"},
    {"writing"},
    {"manifest", "recipe"},
    {"images", "audio", "sources", "weights"},
    {"items"},
    {"backbones"},
    {"runtimes", "store"},
    {"decode"},
    {"sets"},
    {"file_options"},
    {"extract_options"},
    {"adapt_options"},
    {"options"},
    {"extraction", "heads"},
    {"judge"},
    {"comparison", "adapt", "cluster", "speed"},
    {"pipeline"},
    {"api"},
    {"cli"},
)

HEAVY = {
    *("tensorflow", "keras", "jax", "torch", "openvino", "nncf", "onnx", "onnxruntime", "timm"),
    *("keras_hub", "transformers", "open_clip", "torchvision", "huggingface_hub", "safetensors"),
    *("pyarrow", "matplotlib", "sklearn", "rich", "skops"),
    *("tf2onnx", "fastapi", "uvicorn"),
    *("pandas", "polars"),
    *("fsspec", "s3fs", "umap", "usearch", "soundfile", "soxr", "ray", "nvidia"),
}
HOMES = {
    "tensorflow": {
        *("runtimes/tensorflow.py", "heads/solver/keras_engine.py", "adapt"),
        "store/tf_dataset.py",
    },
    "pandas": {"frames.py"},
    "polars": {"frames.py"},
    "jax": {"runtimes/jax.py", "heads/solver/keras_engine.py", "heads/solver/device_search.py"},
    "timm": {"backbones/providers/timm.py"},
    "keras_hub": {"backbones/providers/keras_hub.py"},
    "transformers": {"backbones/providers/hf.py", "backbones/hf_processor.py"},
    "open_clip": {"backbones/providers/openclip.py"},
    "torchvision": {"backbones/providers/torchvision.py", "images/decoders"},
    "nvidia": {"images/decoders/nvimgcodec.py"},
    "huggingface_hub": {"backbones/hub.py"},
    "safetensors": {"backbones/torch_network.py", "backbones/providers/timm.py"},
    "torch": {
        *("runtimes/torch.py", "heads/solver/keras_engine.py"),
        *("backbones/torch_network.py", "backbones/providers", "store/torch_dataset.py"),
        *("heads/solver/device_search.py", "images/decoders"),
    },
    "openvino": {"runtimes/openvino.py", "adapt/deploy.py", "adapt/deployed.py"},
    "tf2onnx": {"adapt/deploy.py"},
    "fastapi": {"adapt/service.py"},
    "uvicorn": {"adapt/service.py"},
    "nncf": {"runtimes/quantize.py"},
    "onnx": {"heads/onnx.py", "adapt/deploy.py"},
    "onnxruntime": {
        *("runtimes/onnxruntime.py", "backbones/onnx_file.py", "adapt/deployed.py"),
    },
    "keras": {"runtimes/openvino.py", "backbones"},
    "sklearn": {"heads", "comparison", "judge", "extraction/transformer.py"},
    "skops": {"heads"},
    "ray": {"cluster/ray_crew.py"},
    "rich": {"cli"},
    "pyarrow": {
        "comparison/handover.py",
        "sources/formats/parquet_file.py",
        "store/export.py",
        "store/foreign_files.py",
    },
    "fsspec": {"sources/remote.py"},
    "soundfile": {"audio/decoder.py"},
    "soxr": {"audio/decoder.py"},
    "umap": {"comparison/projection.py"},
    "usearch": {"store/export.py"},
}


def level(name):
    (found,) = [i for i, layer in enumerate(LAYERS) if name in layer]
    return found


def modules():
    return sorted(
        path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem[0] != "_"
    )


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            if node.module == "bottleneck":
                yield from (f"bottleneck.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "bottleneck" or len(parts) == 1 or parts[1] == "__version__":
            continue
        other = parts[1]
        if not ((PACKAGE / other).exists() or (PACKAGE / f"{other}.py").exists()):
            continue  # a public name of the package
        assert other == own or level(other) < level(own), (
            f"{path} imports {name}: {own} is not above {other}"
        )


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_libraries_stay_in_their_homes(path):
    relative = path.relative_to(PACKAGE).as_posix()
    for name in imports(path):
        library = name.split(".")[0]
        if library in HEAVY:
            assert any(
                relative == home or relative.startswith(f"{home}/")
                for home in HOMES.get(library, ())
            ), f"{relative} imports {name}"


@pytest.mark.parametrize(
    "module",
    [
        "bottleneck",
        "bottleneck.cli.main",
        "bottleneck.api",
        "bottleneck.pipeline",
        "bottleneck.store",
        "bottleneck.sources",
        "bottleneck.audio",
        "bottleneck.backbones",
        "bottleneck.runtimes",
        "bottleneck.runtimes.jax",
        "bottleneck.runtimes.openvino",
        "bottleneck.runtimes.quantize",
        "bottleneck.runtimes.tensorflow",
        "bottleneck.runtimes.torch",
        "bottleneck.speed",
        "bottleneck.decode",
        "bottleneck.sets",
        "bottleneck.extraction",
        "bottleneck.heads",
        "bottleneck.comparison",
        "bottleneck.judge",
    ],
)
def test_importing_loads_nothing_heavy(module):
    code = (
        f"import sys, {module}; "
        f"print(*sorted({HEAVY!r} & {{name.split('.')[0] for name in sys.modules}}))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert loaded == []


def test_no_two_modules_import_each_other():
    """Inside a folder either, not inside of functions, and not by way of others."""
    named = {
        ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)): path
        for path in modules()
        if path.stem != "__init__"
    }
    graph = {
        name: {m for m in imported_modules(path) if m in named} for name, path in named.items()
    }
    assert circles(graph) == []


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set(), "f": {"f", "a"}}
    assert circles(graph) == [("a", "b", "c")]
    assert circles({"a": {"b"}, "b": {"a"}, "c": {"d"}, "d": {"c"}}) == [("a", "b"), ("c", "d")]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_no_module_asks_its_own_package():
    """What stands above a folder's modules is for others: they name each other."""
    asking = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in modules()
        if path.stem != "__init__" and path.parent != PACKAGE
        for name in imported_modules(path)
        if name == ".".join((PACKAGE.name, *path.relative_to(PACKAGE).parent.parts))
    ]
    assert asking == []


def imported_modules(path):
    """Name what a module imports, at import time or later; imports for types alone aside.

    ``from package import name`` is an import of the module of that name, where there is one.
    """
    tree = ast.parse(path.read_text())
    for_types = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and getattr(test.test, "id", "") == "TYPE_CHECKING"
        for statement in test.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            folder = PACKAGE.parent.joinpath(*node.module.split("."))
            for alias in node.names:
                inside = folder / f"{alias.name}.py", folder / alias.name / "__init__.py"
                is_module = any(place.exists() for place in inside)
                yield f"{node.module}.{alias.name}" if is_module else node.module


def circles(graph):
    """List the sets of nodes that reach each other, each sorted (Warshall's closure)."""
    reach = {node: set(after) for node, after in graph.items()}
    for middle in graph:
        for node in graph:
            if middle in reach[node]:
                reach[node] |= reach[middle]
    together = {
        tuple(sorted(o for o in graph if o in reach[node] and node in reach[o])) for node in graph
    }
    return sorted(one for one in together if len(one) > 1)


def test_no_module_is_two():
    long = {
        str(path.relative_to(PACKAGE)): lines
        for path in modules()
        if (lines := len(path.read_text().splitlines())) > 600
    }
    assert long == {}


def test_no_module_shares_the_name_of_a_public_function():
    """Importing a module sets its name in its parent, in the place of what was there."""
    import inspect
    import pickle

    import bottleneck
    import bottleneck.comparison.study
    import bottleneck.extraction.engine

    for name in set(bottleneck.__all__) - {"__version__"}:
        assert not (PACKAGE / name).exists()
        assert not (PACKAGE / f"{name}.py").exists()
        public = getattr(bottleneck, name)
        assert pickle.loads(pickle.dumps(public)) is public
    assert "backbone" in inspect.signature(bottleneck.extract).parameters
    with pytest.raises(bottleneck.BottleneckError, match="batch_size to be at least 1"):
        bottleneck.extract("nowhere", "x.h5", batch_size=0)
    assert set(bottleneck.__all__) <= set(dir(bottleneck))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bottleneck.nothing  # noqa: B018


@pytest.mark.parametrize(
    "folder",
    [path.parent for path in modules() if path.name == "__init__.py"],
    ids=lambda f: f.name,
)
def test_no_package_has_a_module_of_the_name_of_what_it_offers(folder):
    tree = ast.parse((folder / "__init__.py").read_text())
    offered = [
        name.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        for name in getattr(node.value, "elts", ())
    ]
    inside = {path.stem for path in folder.iterdir()} - {"__init__"}
    assert sorted(inside & set(offered)) == []


def test_errors_have_one_style():
    """What was expected, then what came, in lower case and without a full stop."""
    wrong = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args
        if (text := message(node.exc.args[0]))
        if "Received" in text
        or text.startswith("Expected")
        or ("expected" in text and text.endswith("."))
    ]
    assert wrong == []


def message(node):
    """Write what of a message is in the source; braces for the rest."""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) else "{}" for part in node.values
        )
    return str(node.value) if isinstance(node, ast.Constant) else ""
