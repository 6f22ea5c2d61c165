"""What a newcomer starts from: the sample, the pipelines, and one written for their images."""

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import bottleneck
from bottleneck.declare import declared, listed
from bottleneck.errors import BottleneckError, OptionError
from bottleneck.location import is_url, split_part
from bottleneck.options import InitOptions
from bottleneck.sources import Survey, open_source
from bottleneck.sources.layout import SourceOptions
from bottleneck.writing import prepare_output, write_text

_PARTS = ("pipelines", "data/sample")


def copy_examples(folder: Path) -> Path:
    """Copy the sample and the pipelines into a folder; return the first pipeline to run."""
    for part in _PARTS:
        shutil.copytree(_examples() / part, folder / part, dirs_exist_ok=True)
    return folder / "pipelines/quickstart.toml"


def sample_images() -> Path:
    """Return the folder of the sample: a thousand images in train and test."""
    return _examples() / "data/sample"


def _examples() -> Path:
    """Find them: in the wheel they lie in the package, in a checkout beside it."""
    package = Path(bottleneck.__file__).parent
    for place in (package / "examples", package.parent):
        if all((place / part).is_dir() for part in _PARTS):
            return place
    raise BottleneckError(
        f"expected the sample and the pipelines in {package / 'examples'}, found none",
        hint="Reinstall the package: its files are not complete.",
    )


_COMMENT_COLUMN = 38


@dataclass(frozen=True)
class Begun:
    """A pipeline that was written.

    Parameters
    ----------
    output : str
        The file.
    survey : Survey
        What the sources were found to hold.
    steps : tuple of str
        Names of the steps.
    """

    output: str
    survey: Survey
    steps: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"output": self.output, "steps": [*self.steps], "found": self.survey.to_json()}


def write_pipeline(options: InitOptions) -> Begun:
    """Look at some sources and write the pipeline that fits them.

    Raises
    ------
    OptionError
        When the file exists and is not to be replaced.
    """
    output = prepare_output(options.output, kind="other", inputs=options.paths("images"))
    if output.exists() and not options.overwrite:
        raise OptionError(
            f"the output {output} exists",
            hint="Give another name (-o), or --overwrite to replace it.",
        )
    sources = listed(options.sources)
    survey = Survey.of(open_source(sources, listed(options.targets), options.choice()))
    steps = _steps(survey, [_seen_from(output.parent, one) for one in sources], options)
    write_text(output, _head(survey, output) + "\n".join(_table(step) for step in steps))
    return Begun(str(options.output), survey, tuple(str(step["name"][0]) for step in steps))


Step = dict[str, tuple[object, str]]
"""Options of a step, each with a comment."""


def _steps(survey: Survey, sources: list[str], options: InitOptions) -> list[Step]:
    features, head = "features.h5", "logreg.head"
    steps: list[Step] = [
        {
            "name": ("features", ""),
            "run": ("extract", "options: bottleneck extract -h"),
            "sources": (sources, ""),
            "output": (features, ""),
            "backbone": ("efficientnet_lite0", "others: bottleneck backbones"),
        }
    ]
    for option in declared(SourceOptions):
        if (said := getattr(options, option.name)) is not None:
            steps[0][option.name] = (said, "")
    said = asdict(options.choice())
    steps[0] |= {name: (value, "") for name, value in said.items() if value is not None}
    targets = [*listed(options.targets)]
    if targets:
        steps[0]["targets"] = (targets, "kept in the file, for train")
    judged = len(survey.classes) > 1
    if not judged and not targets:
        return steps
    train: Step = {
        "name": ("head", ""),
        "run": ("train", "options: bottleneck train -h"),
        "features": (features, ""),
        "output": (head, ""),
        "head": ("logreg", "or svm, ridge, ..."),
    }
    if targets:
        flags = any("/" in name for name in survey.targets)
        train["head"] = ("logreg" if flags else "ridge", "logreg for labels, ridge for numbers")
        train["targets"] = (targets, "what is predicted")
    if "test" not in survey.splits:
        train["holdout"] = (0.2, "no test split was found: a fifth is kept for the judgement")
    steps.append(train)
    steps.append(
        {
            "name": ("judgement", ""),
            "run": ("evaluate", "options: bottleneck evaluate -h"),
            "head": (head, ""),
            "features": (features, ""),
            "output": ("judgement.json", ""),
        }
    )
    return steps


def _head(survey: Survey, output: Path) -> str:
    about = "\n".join(f"# {_printable(line)}" for line in [*survey.lines(), *survey.warnings])
    return f"""# What was found:
#
{about}
#
# Run it, stop it, run it again: what is done stays, and a step that is up to date is skipped.
#
#     bottleneck run {output.name}
#
# Relative paths start at this file. Which backbone is best? Copy the first step with another
# backbone and output, and add a step: run = "compare", features = [the outputs],
# output = "report.html".

"""


def _table(step: Step) -> str:
    lines = ["[[step]]"]
    for name, (value, comment) in step.items():
        line = f"{name} = {_toml(value)}"
        lines.append(f"{line:<{_COMMENT_COLUMN}} # {comment}" if comment else line)
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if not isinstance(value, str):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_printable(escaped)}"'


def _printable(text: str) -> str:
    """Escape, as TOML does, what no line may hold."""
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)


def _seen_from(folder: Path, source: str) -> str:
    """Write a source so that a pipeline in a folder finds it; URLs are the same everywhere."""
    if is_url(source):
        return source
    path, part = split_part(source)
    relative = os.path.relpath(path, folder)
    return f"{relative}::{part}" if part else relative
