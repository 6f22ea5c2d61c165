"""Networks of transformers: ``hf:OWNER/NAME``, ``hf:OWNER/NAME@COMMIT``, ``hf:FOLDER``.

Tensors come from safetensors alone, and code only from transformers itself, never from the hub.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, Final

from bottleneck.backbones.declared import DeclaredInput
from bottleneck.backbones.hf_processor import read_processor, translate
from bottleneck.backbones.hub import hub_folder
from bottleneck.backbones.network import Form, Network
from bottleneck.backbones.torch_network import (
    PICKLED,
    Origin,
    Processor,
    TorchModel,
    catching,
    check_complete,
    network_of,
    seeded,
)
from bottleneck.errors import BackboneError, OptionError, WeightsError, first_line, not_importable
from bottleneck.images import ImageSize, image_shape
from bottleneck.location import expanded

FORMS: Final[tuple[Form, ...]] = ("torch",)
SYNTAX: Final = "OWNER/NAME or FOLDER"

_FACTS: Final = ("config.json", "preprocessor_config.json", "processor_config.json", "README.md")
_TENSORS: Final = (
    *("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"),
)

_BEFORE_PATCHES: Final = {
    *("cls_token", "class_token", "class_embedding", "distillation_token", "register_tokens"),
}
"""Parameters that are tokens of their own, in front of the patches."""

_FINAL_NORMS: Final = ("layernorm", "norm", "post_layernorm", "ln_post")


def canonical(name: str) -> str:
    """Return the name on the hub, or a folder's without those around it."""
    return Path(name).resolve().name if _is_folder(name) else name


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    size: ImageSize | None = None,
    declared: DeclaredInput | None = None,
    backend: str | None = None,  # no Keras here
) -> Network:
    """Load a network; see :class:`bottleneck.backbones.registry.Provider`.

    ``weights``: ``hub`` (the default: the folder, or the cache of the hub, else the hub), ``none``
    (random, the same every time), or a folder: where it is now.
    """
    transformers, torch = _imported()
    shown = f"hf:{canonical(name)}"
    random = str(weights) == "none"
    given = name if random or weights in (None, "hub") else str(weights)
    folder, origin = _folder(shown, given, random)
    with _quiet(transformers):
        config = _config(transformers, shown, folder)
        module, unused, without = _module(transformers, torch, shown, folder, config, random=random)
    module.eval()
    vision = getattr(config, "vision_config", config)
    said = read_processor(folder)
    processor = _processor(transformers, shown, said, config.model_type, vision, declared=declared)
    height, width, _ = image_shape(processor.size if size is None else size)
    size = height if height == width else (height, width)
    model, own, last4 = _model(torch, shown, module, vision, (height, width))
    return network_of(
        shown,
        model,
        processor,
        origin=Origin(
            origin.source,
            {
                **origin.details,
                **({"without": without} if without else {}),
                "transformers": transformers.__version__,
            },
            unused,
        ),
        facts=_facts(module, vision, (height, width)),
        declared=declared,
        size=size,
        own=own,
        last4=last4,
        licence=_licence(folder),
        itself=_itself(transformers, folder)
        if said is not None and size == processor.size
        else None,
    )


def _imported() -> tuple[Any, Any]:
    try:
        import torch
        import transformers

        _ = transformers.AutoModel, transformers.AutoConfig
    except ImportError as error:
        raise not_importable("transformers and PyTorch", "hf", error) from error
    return transformers, torch


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep its bars and its reports off the terminal: what they say is looked at here."""
    log = transformers.utils.logging
    before, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(before)
        if bars:
            log.enable_progress_bar()


def _is_folder(name: str) -> bool:
    return name.startswith((".", "/", "~")) or expanded(name).is_dir()


def _folder(shown: str, given: str, random: bool) -> tuple[Path, Origin]:
    """Find the folder of a network's files."""
    if _is_folder(given):
        folder = expanded(given).resolve()
        if not (folder / "config.json").is_file():
            raise WeightsError(f"{given}: expected a folder with config.json, which is not there")
        if not random and not any(any(folder.glob(one)) for one in _TENSORS):
            pickled = sorted(one.name for one in folder.glob("*.bin"))
            raise WeightsError(
                f"{given}: expected model.safetensors, got {pickled[0] if pickled else 'none'}",
                hint=PICKLED if pickled else None,
            )
        return folder, Origin("none" if random else str(folder))
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?", given):
        raise BackboneError(
            f"{shown}: expected a folder, or OWNER/NAME or OWNER/NAME@COMMIT on the hub, got "
            f"{given!r}"
        )
    found = hub_folder(given, _FACTS if random else (*_FACTS, *_TENSORS))
    details = {"hub": found.repository, "commit": found.commit}
    if not random and not any(any(found.path.glob(one)) for one in _TENSORS):
        raise WeightsError(
            f"{shown}: expected model.safetensors in its repository, which has none", hint=PICKLED
        )
    return found.path, Origin("none" if random else "hub", details)


def _config(transformers: Any, shown: str, folder: Path) -> Any:
    try:
        return transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise BackboneError(
            f"{shown}: expected a network of transformers {transformers.__version__}, got "
            f"{first_line(error)}",
            hint="Code that comes with a checkpoint is not run.",
        ) from error


def _module(
    transformers: Any, torch: Any, shown: str, folder: Path, config: Any, *, random: bool
) -> tuple[Any, list[str], list[str]]:
    """Build it and fill it; also name what of the checkpoint is unused, and what it is without."""
    with seeded(torch):
        if random:
            built = transformers.AutoModel.from_config(config, dtype=torch.float32)
            return _image_part(built), [], []
        module, info = _filled(transformers, torch, shown, folder, config)
        missing = sorted(info["missing_keys"])
        without: list[str] = []
        if missing and all(key.startswith("pooler.") for key in missing):
            # It would be random. Without it nothing is, and the tokens are the same.
            without = missing
            module, info = _filled(
                transformers, torch, shown, folder, config, add_pooling_layer=False
            )
            missing = sorted(info["missing_keys"])
    for key, received, expected in sorted(info.get("mismatched_keys", ())):
        raise WeightsError(
            f"{shown}: expected tensors of its config.json: {key} of {tuple(expected)}, got "
            f"{tuple(received)}"
        )
    unused = check_complete(shown, module, missing, sorted(info["unexpected_keys"]))
    return _image_part(module), unused, without


def _filled(
    transformers: Any, torch: Any, shown: str, folder: Path, config: Any, **options: Any
) -> tuple[Any, Mapping[str, Any]]:
    try:
        module, info = transformers.AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told, and refused here
            **options,
        )
    except Exception as error:
        raise WeightsError(
            f"{shown}: expected weights that transformers {transformers.__version__} loads, got "
            f"{first_line(error)}"
        ) from error
    return module, info


def _image_part(module: Any) -> Any:
    """Let go of the part that reads text."""
    for part in ("text_model", "text_projection"):
        if hasattr(module, "get_image_features") and hasattr(module, part):
            setattr(module, part, None)
    return module


def _processor(
    transformers: Any,
    shown: str,
    said: Mapping[str, Any] | None,
    model_type: str,
    vision: Any,
    *,
    declared: DeclaredInput | None,
) -> Processor:
    if said is not None:
        try:
            return translate(transformers, shown, said, model_type)
        except BackboneError:
            if declared is None or declared.preprocess is None:
                raise
    if declared is None or declared.preprocess is None:
        raise OptionError(
            f"{shown}: expected preprocessor_config.json, which is not there",
            hint="Say what the network wants: --preprocess 'mean=...;std=...;crop=...'.",
        )
    side = getattr(vision, "image_size", None) or 224
    return Processor(side if isinstance(side, int) else tuple(side), declared.preprocess)


def _itself(transformers: Any, folder: Path) -> Callable[[Any], Any]:
    """Return the folder's own processor; on Pillow, where it has one."""

    def processed(image: Any) -> Any:
        with _quiet(transformers):
            made = transformers.AutoImageProcessor.from_pretrained(
                folder, backend="pil", local_files_only=True, trust_remote_code=False
            )
        return made(image, return_tensors="np")["pixel_values"][0]

    return processed


def _model(
    torch: Any, shown: str, module: Any, vision: Any, sides: tuple[int, int]
) -> tuple[TorchModel, str | None, str | None]:
    """Say what can be taken: the last hidden state, the pooled vector, hidden states, modules."""
    text_image = hasattr(module, "get_image_features")
    forward: Callable[..., Any] = module.get_image_features if text_image else module.forward
    resampled = _resampled(module, vision, sides)
    options: dict[str, Any] = {}
    if resampled and "interpolate_pos_encoding" in signature(forward).parameters:
        options["interpolate_pos_encoding"] = True
    try:
        with torch.inference_mode():
            first, places = _probed(torch, module, forward, options, sides)
    except Exception as error:
        raise BackboneError(
            f"{shown}: expected a network that takes images of {sides[0]} x {sides[1]}, got "
            f"{first_line(error)}"
        ) from error
    state = first.last_hidden_state
    prefix = _prefix(module, state, places)
    part = getattr(module, "vision_model", module)
    count = len(getattr(first, "hidden_states", None) or ())
    norm = next((found for one in _FINAL_NORMS if (found := getattr(part, one, None))), None)
    blocks = _blocks(torch, part, count - 1) if prefix and norm is not None else None
    own = "image_embeds" if text_image else "pooler_output"
    outputs: dict[str, Callable[[Any], Any]] = {
        "last_hidden_state": lambda b: b[0].last_hidden_state
    }
    if getattr(first, "pooler_output", None) is not None:
        outputs[own] = lambda begun: begun[0].pooler_output.flatten(1)
    if blocks is not None:
        outputs["last4"] = lambda begun: _last4(torch, norm, begun[1], prefix)
    for i in range(count):
        outputs[f"hidden_states.{i}"] = partial(_hidden, i)

    def start(images: Any, names: Sequence[str]) -> Any:
        hidden = any(name.startswith("hidden_states.") for name in names)
        return catching(
            lambda: forward(images, output_hidden_states=hidden, **options),
            blocks if blocks is not None and "last4" in names else (),
        )

    model = TorchModel(module, outputs, start=start, prefix=prefix)
    return model, own if own in outputs else None, "last4" if blocks is not None else None


def _probed(
    torch: Any, module: Any, forward: Any, options: Mapping[str, Any], sides: tuple[int, int]
) -> tuple[Any, int | None]:
    """Compute a grey image; also count the places of the convolution that cuts it."""
    cut = next(
        (
            one
            for one in module.modules()
            if isinstance(one, torch.nn.Conv2d) and one.kernel_size == one.stride != (1, 1)
        ),
        None,
    )
    counted: list[int] = []
    hook = cut and cut.register_forward_hook(
        lambda _module, _in, out: counted.append(math.prod(out.shape[2:]))
    )
    try:
        found = forward(torch.full((1, 3, *sides), 0.5), output_hidden_states=True, **options)
    finally:
        if hook:
            hook.remove()
    return found, counted[0] if counted else None


def _prefix(module: Any, state: Any, places: int | None) -> int | None:
    """Count the tokens before the patches: by the parameters that are such tokens, and by places.

    Only where both agree, or where there are none and patches were merged, four into one.
    """
    if state.ndim != 3 or places is None:
        return None
    special = sum(
        parameter.shape[1] if parameter.ndim == 3 else 1
        for name, parameter in module.named_parameters()
        if name.rpartition(".")[2] in _BEFORE_PATCHES
    )
    count = int(state.shape[1])
    if count - special == places:
        return special
    merged = places / count
    return 0 if special == 0 and merged >= 1 and math.log(merged, 4).is_integer() else None


def _hidden(i: int, begun: Any) -> Any:
    return begun[0].hidden_states[i]


def _blocks(torch: Any, part: Any, count: int) -> Any:
    """Find the last four of a transformer's blocks."""
    lists = [
        one
        for one in part.modules()
        if isinstance(one, torch.nn.ModuleList) and len(one) == count >= 4
    ]
    return list(lists[0])[-4:] if len(lists) == 1 else None


def _last4(torch: Any, norm: Any, blocks: Sequence[Any], prefix: int | None) -> Any:
    """Join the class tokens of the last four blocks and the mean patch of the last one."""
    states = [norm(one) for one in blocks]
    return torch.cat([*(one[:, 0] for one in states), states[-1][:, prefix:].mean(1)], -1)


def _resampled(module: Any, vision: Any, sides: tuple[int, int]) -> bool | None:
    """Whether positions are resampled; None where there is no table of them."""
    if not any("position_embedding" in name for name, _ in module.named_parameters()):
        return None
    side = getattr(vision, "image_size", None)
    stored = (side, side) if isinstance(side, int) else tuple(side or ())
    return stored != sides


def _facts(module: Any, vision: Any, sides: tuple[int, int]) -> dict[str, Any]:
    facts = {"library": "transformers", "architecture": type(module).__name__}
    activation = getattr(vision, "hidden_act", None)
    if isinstance(activation, str):
        facts["activation"] = activation
    resampled = _resampled(module, vision, sides)
    if resampled is not None:
        facts["positions"] = "resampled by transformers" if resampled else "stored"
    return facts


def _licence(folder: Path) -> str | None:
    """Read the licence from the front matter of its card."""
    try:
        card = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    front = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
    found = re.search(r"^license:\s*(\S+)\s*$", front[1], re.MULTILINE) if front else None
    return found[1] if found else None
