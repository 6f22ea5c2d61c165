"""Pipelines: steps read from TOML, run in order, skipped when nothing they depend on changed."""

import difflib
import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bottleneck import __version__
from bottleneck.declare import Options, Role, declared, listed
from bottleneck.errors import OptionError, PipelineError, TooManyFailuresError
from bottleneck.fingerprint import fingerprint
from bottleneck.gpus import showing_all
from bottleneck.location import is_set, is_url
from bottleneck.options import (
    OPTIONS,
    ExtractOptions,
    FinetuneOptions,
    PredictOptions,
    TrainOptions,
)
from bottleneck.progress import Progress
from bottleneck.runtimes.protocol import gpu_index
from bottleneck.sets import published, read_info
from bottleneck.sets.stored import feature_files
from bottleneck.sources import AS_FOUND, listed_once, open_source
from bottleneck.sources.layout import SourceOptions
from bottleneck.writing import prepare_output, write_text

STEPS = ("extract", "train", "evaluate", "predict", "compare", "race", "finetune")
"""What a step can run: functions and commands of these names."""


@dataclass(frozen=True)
class NamedStep:
    """A step of a pipeline.

    Parameters
    ----------
    name : str
        Unique in the pipeline.
    kind : str
        ``extract``, ``train``, ``evaluate``, ``predict``, ``compare``, ``race`` or
        ``finetune``.
    step : Options
        With what.
    """

    name: str
    kind: str
    step: Options


@dataclass(frozen=True)
class Outcome:
    """What became of a step.

    Parameters
    ----------
    name, kind : str
        The step.
    action : {"ran", "skipped", "would run"}
        Whether it had to run.
    why : str
        The reason.
    result : dict or None
        The step's document, also of the earlier run when it was skipped.
    """

    name: str
    kind: str
    action: Literal["ran", "skipped", "would run"]
    why: str
    result: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "name": self.name,
            "run": self.kind,
            "action": self.action,
            "why": self.why,
            "result": self.result,
        }


def load_pipeline(path: Path, settings: Sequence[str] = ()) -> list[NamedStep]:
    """Read the steps of a pipeline file.

    Parameters
    ----------
    path : Path
        A TOML file: a list of tables ``[[step]]``, each with ``run`` (the command's name), an
        optional ``name``, and the step's options; and, at the top, an optional ``root``, the
        folder that relative paths start from (by default the file's own).
    settings : sequence of str
        ``NAME.option=value`` sets an option of one step, ``option=value`` of every step that
        has it; the value is TOML, or else a string.

    Raises
    ------
    PipelineError
        For anything the file or a setting says that is not understood.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PipelineError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PipelineError(f"{path} is not valid TOML: {error}") from error
    _refuse_unknown(document, {"step", "root"}, str(path))
    tables = document.get("step", [])
    if not isinstance(tables, list) or not tables:
        raise PipelineError(f"{path}: expected steps, each headed [[step]], found none")
    root = path.parent / str(document.get("root", "."))
    named = [_name_table(table, position, path) for position, table in enumerate(tables)]
    names = [name for name, _, _ in named]
    for name in names:
        if names.count(name) > 1:
            raise PipelineError(f"{path}: expected unique step names, got {name!r} twice")
    for setting in settings:
        _apply(setting, named)
    steps = [
        NamedStep(name, kind, _build(kind, options, root, f"{path}, step {name!r}"))
        for name, kind, options in named
    ]
    makers: dict[str, str] = {}
    for named_step in steps:
        for output in _paths(named_step.step, "writes"):
            if output in makers:
                raise PipelineError(
                    f"{path}: the steps {makers[output]!r} and {named_step.name!r} both write "
                    f"{os.path.relpath(output)}"
                )
            makers[output] = named_step.name
    return steps


def run_pipeline(
    steps: Sequence[NamedStep],
    functions: Mapping[str, Callable[..., Any]],
    progress: Progress,
    *,
    dry_run: bool = False,
    force: bool = False,
) -> Iterator[Outcome]:
    """Run steps in order, each only if its options, its inputs or its output changed.

    A feature file is continued, never started over, unless forced: images whose bytes changed
    are computed again, and another list of images or another recipe is refused.

    Parameters
    ----------
    steps : sequence of NamedStep
        What to run.
    functions : mapping of str to callable
        What does the work of each kind of step: a function of its options.
    progress : Progress
        Who is told how it goes.
    dry_run : bool
        Only tell what would run.
    force : bool
        Run every step, starting feature files over.

    Yields
    ------
    Outcome
        As each step ends.

    Raises
    ------
    TooManyFailuresError
        When more images failed than a step allows; later steps do not run.
    """
    remade: set[str] = set()
    with _gpus_shown(steps):
        for named in steps:
            # What a step looks at to know whether it is up to date is what it then works on.
            with listed_once():
                outcome = _run_step(
                    named, remade, functions[named.kind], progress, dry_run=dry_run, force=force
                )
            yield outcome


def _gpus_shown(steps: Sequence[NamedStep]) -> AbstractContextManager[None]:
    """Show all GPUs where a step names another than the first: one process computes all steps."""
    given = [getattr(named.step, name, None) for named in steps for name in ("device", "devices")]
    named_gpus = {gpu_index(device) for some in given for device in listed(some or ())}
    return showing_all() if named_gpus - {None, 0} else nullcontext()


def _run_step(
    named: NamedStep,
    remade: set[str],
    function: Callable[..., Any],
    progress: Progress,
    *,
    dry_run: bool,
    force: bool,
) -> Outcome:
    """Run a step if it has to; ``remade`` are the files of steps that ran, its own are added."""
    step = named.step
    state_path = _state_path(step)
    state = _read_state(state_path)
    waits_for = remade.intersection(_paths(step, "reads", "images"))
    stamps = None if dry_run and waits_for else _stamps(named)
    why = _why_run(named, state, stamps, force=force, waits_for=waits_for)
    if why is None:
        return Outcome(named.name, named.kind, "skipped", "up to date", state["result"])
    remade.update(_paths(step, "writes"))
    if dry_run or stamps is None:
        return Outcome(named.name, named.kind, "would run", why, None)
    if isinstance(step, ExtractOptions):
        # Remembered until the step ends well, in case it is stopped while it looks.
        changed = state.get("refresh", False) or state.get("inputs") != stamps["inputs"]
        step = replace(
            step,
            overwrite=step.overwrite or force,
            refresh=step.refresh or (bool(state) and changed),
        )
    elif isinstance(step, TrainOptions | FinetuneOptions):
        step = replace(step, overwrite=True)  # what a pipeline made it may replace
    unfinished = {"finished": False, "refresh": getattr(step, "refresh", False)}
    _write_state(state_path, {**stamps, **unfinished})
    result = function(**step.values(), progress=progress).to_json()
    _require_success(named, result)
    made = {"finished": True, "result": result, "outputs": _stamp_outputs(step)}
    _write_state(state_path, {**stamps, **made})
    return Outcome(named.name, named.kind, "ran", why, result)


def _require_success(named: NamedStep, result: Mapping[str, Any]) -> None:
    if result.get("interrupted"):
        raise KeyboardInterrupt
    if result.get("too_many_failed"):
        raise TooManyFailuresError(
            f"step {named.name!r}: {result.get('failed_total', result['failed'])} of "
            f"{result['rows']} images failed, more than it allows",
            hint="Look at the reasons (bottleneck info FILE), or raise max_failed.",
        )


def _why_run(
    named: NamedStep,
    state: Mapping[str, Any],
    stamps: Mapping[str, str] | None,
    *,
    force: bool,
    waits_for: set[str],
) -> str | None:
    if force:
        return "forced"
    if not state or any(not Path(p).exists() for p in _paths(named.step, "writes")):
        return "not made yet"
    if waits_for or stamps is None:
        return f"{', '.join(os.path.relpath(path) for path in sorted(waits_for))} is rebuilt"
    if not state.get("finished"):
        return "did not finish"
    now = {**stamps, "outputs": _stamp_outputs(named.step)}
    changed = [name for name, stamp in now.items() if state.get(name) != stamp]
    return f"{' and '.join(changed)} changed" if changed else None


def _stamps(named: NamedStep) -> dict[str, str]:
    """Fingerprint what the result depends on, without reading images."""
    step = named.step
    inputs, options = {}, step.values()
    for option in declared(type(step)):
        name, role, value = option.name, option.about.role, options[option.name]
        files = value if isinstance(value, tuple) else (value,) if value else ()
        if role == "images":
            inputs[name] = _stamp_images(named, name, files)
        elif role == "reads":
            inputs[name] = " ".join(_stamp_input(named, name, file) for file in files)
        if role:
            options[name] = _absolute(value)  # wherever the command is run from
    return {
        "inputs": fingerprint(inputs),
        "options": fingerprint({"version": __version__, "run": named.kind, **options}),
    }


def _stamp_images(named: NamedStep, name: str, given: Sequence[str]) -> str:
    if feature_files(given):
        return " ".join(_stamp_input(named, name, file) for file in given)
    step = named.step
    if not given:
        return ""
    choice = step.choice() if isinstance(step, SourceOptions) else AS_FOUND
    return open_source(given, getattr(step, "targets", ()), choice).stamp()


def _stamp_input(named: NamedStep, name: str, path: str) -> str:
    """Fingerprint a file that is read by size and time of change, a set by its shards."""
    try:
        if is_set(path):
            place, info = read_info(path)
            return fingerprint([info.id, sorted(published(place, info).items())])
        facts = Path(path).stat()
    except OSError as error:
        raise PipelineError(
            f"step {named.name!r}: cannot read {name} = {path!r}: {error.strerror}",
            hint="Is an earlier step meant to make it? Then check both names.",
        ) from error
    return f"{facts.st_size} {facts.st_mtime_ns}"


def _stamp_outputs(step: Options) -> str:
    """Fingerprint the files a step has made by size and time of change."""
    facts = [Path(path).stat() for path in _paths(step, "writes")]
    return fingerprint([[fact.st_size, fact.st_mtime_ns] for fact in facts])


def _absolute(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_absolute(item) for item in value]
    if isinstance(value, str) and not is_url(value):
        return os.path.abspath(value)  # noqa: PTH100
    return value


def _paths(step: Options, *roles: Role) -> list[str]:
    return [os.path.abspath(path) for path in step.paths(*roles)]  # noqa: PTH100


def _state_path(step: Options) -> Path | None:
    written = _paths(step, "writes")
    return Path(f"{written[0]}.step.json") if written else None


def _read_state(path: Path | None) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}  # no record: the step runs
    return state if isinstance(state, dict) else {}


def _write_state(path: Path | None, state: dict[str, Any]) -> None:
    if path is not None:
        prepare_output(path, kind="other")
        write_text(path, json.dumps(state, indent=1) + "\n")


def _name_table(table: Any, position: int, path: Path) -> tuple[str, str, dict[str, Any]]:
    if not isinstance(table, dict) or "run" not in table:
        raise PipelineError(
            f"{path}: step {position + 1} does not say what to run",
            hint=f"Add run = one of {', '.join(map(repr, STEPS))}.",
        )
    options = dict(table)
    kind = options.pop("run")
    name = options.pop("name", f"{kind}-{position + 1}")
    if kind not in STEPS:
        raise PipelineError(
            f"{path}: step {name!r} runs {kind!r}, expected one of {', '.join(STEPS)}"
        )
    return name, kind, options


def _apply(setting: str, named: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
    target, equals, text = setting.partition("=")
    if not equals:
        raise PipelineError(f"expected --set NAME.option=value or option=value, got {setting!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    name, dot, option = target.rpartition(".")
    chosen = [
        options
        for step_name, kind, options in named
        if step_name == name or (not dot and option in _roles(kind))
    ]
    if not chosen:
        steps = ", ".join(step_name for step_name, _, _ in named)
        raise PipelineError(f"--set {setting}: no step has it", hint=f"The steps are: {steps}")
    for _, kind, options in named:
        if any(options is one for one in chosen):
            # What is typed on the command line is meant from where it is typed.
            options[option] = _from_here(value) if _roles(kind).get(option) else value


def _from_here(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_here(item) for item in value]
    if isinstance(value, str) and not is_url(value):
        return os.path.abspath(value)  # noqa: PTH100
    return value


def _roles(kind: str) -> dict[str, Role | None]:
    """Return the options of a function, with the roles of those that are paths."""
    return {option.name: option.about.role for option in declared(OPTIONS[kind])}


def _build(kind: str, options: Mapping[str, Any], root: Path, where: str) -> Options:
    """Make a function's options of a table's plain values; paths start from a folder."""
    roles = _roles(kind)
    _refuse_unknown(options, set(roles), where)
    for option in declared(OPTIONS[kind]):
        if option.required and option.name not in options:
            raise PipelineError(f"{where}: expected a value for {option.name!r}, found none")
    try:
        step = OPTIONS[kind](**options)
    except OptionError as error:
        raise PipelineError(f"{where}: {error.message}", hint=error.hint) from error
    if isinstance(step, ExtractOptions | PredictOptions) and step.output is None:
        raise PipelineError(f"{where}: expected a value for 'output', found none")
    values = step.values()
    paths = {name: _resolve(values[name], root) for name, role in roles.items() if role}
    return replace(step, **paths)


def _resolve(value: Any, root: Path) -> Any:
    if isinstance(value, tuple):
        return tuple(_resolve(item, root) for item in value)
    if not isinstance(value, str) or is_url(value):  # a URL is the same from everywhere
        return value
    return os.path.relpath(root / value)


def _refuse_unknown(table: Mapping[str, Any], known: set[str], where: str) -> None:
    """Raise a PipelineError for the first key that is not known, with the nearest ones."""
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3)
            raise PipelineError(
                f"{where}: unknown key {key!r}",
                hint=f"Did you mean {' or '.join(near)}?"
                if near
                else f"Known keys: {', '.join(sorted(known))}",
            )
