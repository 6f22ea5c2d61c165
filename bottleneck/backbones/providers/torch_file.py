"""PyTorch networks in files: ``torch:FILE.pt2`` (exported programs) and TorchScript.

Both hold the computation itself, so no code of anybody is needed, and none is run: pickles inside
are read by PyTorch's restricted loader.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from bottleneck.backbones.declared import DeclaredInput, file_and_layer, file_spec
from bottleneck.backbones.network import Form, Network
from bottleneck.backbones.torch_network import (
    Origin,
    Processor,
    TorchModel,
    network_of,
)
from bottleneck.errors import BackboneError, OptionError, WeightsError, first_line, not_importable
from bottleneck.fingerprint import fingerprint, fingerprint_parts
from bottleneck.images import ImageSize, image_shape
from bottleneck.location import expanded

FORMS: Final[tuple[Form, ...]] = ("torch",)
SYNTAX: Final = "FILE#layer"


def canonical(name: str) -> str:
    """Return the file's name without its folder, and the layer."""
    return file_and_layer(name)


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    size: ImageSize | None = None,
    declared: DeclaredInput | None = None,
    backend: str | None = None,  # no Keras here
) -> Network:
    """Read a file; see :class:`bottleneck.backbones.registry.Provider`."""
    torch = _imported()
    given, _, layer = name.partition("#")
    path = expanded(given if weights is None else weights)
    shown = f"torch:{canonical(name)}"
    if not path.is_file():
        raise WeightsError(f"{path}: expected an exported program or TorchScript, got no such file")
    model: TorchModel
    if path.suffix == ".pt2":
        model = program = _exported(torch, path)
        facts = program.facts
        height, width = program.sides(shown, size)
    else:
        module = _script(torch, path)
        facts = {"library": "torchscript", "code_sha256": _code(path)}
        if size is None:
            raise OptionError(
                f"{shown}: expected --size, which TorchScript does not say, got none",
            )
        height, width, _ = image_shape(size)
        model = _script_model(torch, shown, module, (height, width))
    if layer:
        if layer not in model.layers:
            raise BackboneError(
                f"{shown}: expected a layer of {', '.join(model.layers[:5])}, ..., got {layer!r}",
                hint=f"`bottleneck backbones torch:{given} --layers` lists them.",
            )
        model.main = layer
        facts = {**facts, "layer": layer}
    size = height if height == width else (height, width)
    said = file_spec(shown, size=size, dim=0, params=model.parameters, declared=declared)
    return network_of(
        shown,
        model,
        Processor(
            size,
            said.preprocess,
            said.resize,
            said.crop_ratio or 1.0,
            said.interpolation,
            whole=False,
        ),
        origin=Origin(str(path.resolve()), {"torch": torch.__version__}),
        facts=facts,
        declared=declared,
        size=size,
    )


class ExportedProgram(TorchModel):
    """A program of ``torch.export``: every node of its graph can be taken.

    Parameters
    ----------
    torch : module
    program : torch.export.ExportedProgram
    path : Path
        For messages.
    """

    def __init__(self, torch: Any, program: Any, path: Path) -> None:
        self._torch = torch
        self._program = program
        self._shape_of = {
            node.name: node.meta["val"].shape
            for node in program.graph.nodes
            if getattr(node.meta.get("val"), "ndim", 0) >= 2
            and node.meta["val"].is_floating_point()
        }
        inputs = list(program.graph_signature.user_inputs)
        shape = self._shape_of.get(str(inputs[0])) if len(inputs) == 1 else None
        if shape is None or len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise BackboneError(
                f"{path}: expected a program of one batch of images, float and of 3 channels, got "
                f"{len(inputs)} inputs, the first {None if shape is None else tuple(shape)}"
            )
        self._nchw = shape[1] == 3
        self._batch = shape[0] if isinstance(shape[0], int) else None
        self._sides = tuple(shape[2:] if self._nchw else shape[1:3])
        found = [one for one in program.graph_signature.user_outputs if one in self._shape_of]
        if not found:
            raise BackboneError(f"{path}: expected a program that returns features, got none")
        first = self._shape_of[found[0]]
        super().__init__(
            program.module(),
            dict.fromkeys(dict.fromkeys(found), _nothing),
            start=_nothing,
            prefix=_prefix(program, self._shape_of, first),
            tokens=first[1] if len(first) == 3 and isinstance(first[1], int) else None,
        )
        self._inner = tuple(
            node.name
            for node in program.graph.nodes
            if node.op == "call_function"
            and len(self._shape_of.get(node.name, ())) in (2, 3, 4)
            and str(self._shape_of[node.name][0]) == str(shape[0])
        )

    @property
    def layers(self) -> tuple[str, ...]:
        """Name its outputs, then the nodes of its graph."""
        return tuple(dict.fromkeys((*self._outputs, *self._inner)))

    @property
    def facts(self) -> dict[str, Any]:
        """What it computes, whatever its weights."""
        return {"library": "torch.export", "graph_sha256": fingerprint(self.module.code)}

    def sides(self, shown: str, asked: ImageSize | None) -> tuple[int, int]:
        """Return height and width of its input: what it fixes, or what is asked."""
        fixed = [side for side in self._sides if isinstance(side, int)]
        if asked is None and len(fixed) < 2:
            raise OptionError(f"{shown}: expected --size, which the program leaves open, got none")
        height, width, _ = image_shape((fixed[0], fixed[1]) if asked is None else asked)
        for side, own in zip((height, width), self._sides, strict=True):
            if isinstance(own, int) and side != own:
                raise BackboneError(
                    f"{shown}: expected images of {self._sides[0]} x {self._sides[1]} pixels, "
                    f"which the program fixes, got {height} x {width}",
                    hint="Leave --size out.",
                )
        return height, width

    def to(self, place: str) -> None:
        """Move the program, whose graph names devices, and rebuild its module."""
        if place != "cpu":
            from torch.export.passes import move_to_device_pass

            self.module = move_to_device_pass(self._program, place).module()

    def take(self, images: Any, layers: Sequence[str]) -> list[Any]:
        """Run the graph, and keep what is wanted; a batch size that is fixed is kept to."""
        count = int(images.shape[0])
        step = self._batch or count
        parts = [self._run(images[i : i + step], layers) for i in range(0, count, step)]
        return [
            None if one[0] is None else self._torch.cat(one)[:count]
            for one in (list(each) for each in zip(*parts, strict=True))
        ]

    def _run(self, images: Any, layers: Sequence[str]) -> list[Any]:
        lacking = (self._batch or 0) - int(images.shape[0])
        if lacking > 0:
            images = self._torch.cat([images, images[-1:].expand(lacking, -1, -1, -1)])
        caught: dict[str, Any] = {}

        class Catching(self._torch.fx.Interpreter):  # type: ignore[misc, name-defined]
            def run_node(self, node: Any) -> Any:
                found = super().run_node(node)
                if node.name in layers:
                    caught[node.name] = found.clone()
                return found

        Catching(self.module).run(images if self._nchw else images.permute(0, 2, 3, 1))
        return [caught.get(name) for name in layers]

    def fingerprint(self) -> str:
        """Return the SHA-256 of its tensors, constants too."""
        constants = {
            name: value for name, value in self._program.constants.items() if hasattr(value, "cpu")
        }
        return fingerprint_parts([super().fingerprint().encode(), *_bytes(constants)])


def _nothing(*_: Any) -> Any:
    return None


def _bytes(tensors: Mapping[str, Any]) -> Iterator[bytes]:
    for name, value in sorted(tensors.items()):
        yield f"{name} {value.dtype} {list(value.shape)}".encode()
        yield value.detach().cpu().contiguous().float().numpy().tobytes()


def _prefix(program: Any, shape_of: Mapping[str, Any], first: Any) -> int | None:
    """Count the tokens before the patches: what the convolution that cuts the image leaves over."""
    for node in program.graph.nodes:
        if node.op != "call_function" or "conv2d" not in str(node.target):
            continue
        kernel = tuple(shape_of.get(node.args[1].name, ())[2:])
        stride = tuple(node.args[3]) if len(node.args) > 3 else (1, 1)
        places = shape_of[node.name][2:]
        if kernel and kernel == stride != (1, 1) and len(first) == 3:
            count = first[1] - places[0] * places[1]
            return int(count) if isinstance(count, int) and count >= 0 else None
        return None
    return None


def _imported() -> Any:
    try:
        import torch
    except ImportError as error:
        raise not_importable("PyTorch", "torch", error) from error
    return torch


def _exported(torch: Any, path: Path) -> ExportedProgram:
    try:
        with _without_code(torch):
            program = torch.export.load(path)
    except Exception as error:
        raise WeightsError(
            f"{path}: expected an exported program (torch.export.save), got {first_line(error)}"
        ) from error
    return ExportedProgram(torch, program, path)


@contextmanager
def _without_code(torch: Any) -> Iterator[None]:
    """Let no pickle inside of a file run code, whatever the reader of the format asks for."""
    from torch.export.pt2_archive import _package as reader

    def refuse(*_: Any, **__: Any) -> Any:
        raise ValueError("a pickled object, which may run code")

    original, pickle = torch.load, getattr(reader, "pickle", None)

    def restricted(*given: Any, **options: Any) -> Any:
        try:
            return original(*given, **{**options, "weights_only": True})
        except Exception as error:
            raise ValueError("pickled objects that are not tensors: they may run code") from error

    torch.load = restricted
    reader.pickle = SimpleNamespace(loads=refuse, load=refuse)
    try:
        yield
    finally:
        torch.load, reader.pickle = original, pickle


def _script(torch: Any, path: Path) -> Any:
    try:
        return torch.jit.load(path, map_location="cpu").eval()
    except Exception as error:
        raise WeightsError(
            f"{path}: expected TorchScript (torch.jit.save), got {first_line(error)}",
            hint="A pickled module or state dict is not a network: export it with "
            "torch.export.export and torch.export.save(program, 'FILE.pt2').",
        ) from error


def _script_model(torch: Any, shown: str, module: Any, sides: tuple[int, int]) -> TorchModel:
    """Find what it returns: a tensor, several, or a dictionary of them."""
    try:
        with torch.inference_mode():
            found = module(torch.full((1, 3, *sides), 0.5))
    except Exception as error:
        raise BackboneError(
            f"{shown}: expected a network that takes images (n, 3, {sides[0]}, {sides[1]}), got "
            f"{first_line(error)}"
        ) from error
    keys: list[Any]
    if isinstance(found, dict):
        keys = list(found)
    else:
        keys = list(range(len(found))) if isinstance(found, tuple | list) else [None]
    outputs: dict[str, Callable[[Any], Any]] = {
        "output" if key is None else str(key): _picking(key) for key in keys
    }
    return TorchModel(
        module,
        outputs,
        start=lambda images, _: module(images),
        prefix=None,
        hooks=False,  # inside of TorchScript none is called
    )


def _picking(key: Any) -> Callable[[Any], Any]:
    return lambda found: found if key is None else found[key]


def _code(path: Path) -> str:
    """Fingerprint the code in a TorchScript file; the names of its folders are chance."""
    with zipfile.ZipFile(path) as archive:
        parts = sorted(
            (name.partition("/")[2], archive.read(name))
            for name in archive.namelist()
            if name.endswith(".py")
        )
    return fingerprint_parts([part for name, code in parts for part in (name.encode(), code)])
