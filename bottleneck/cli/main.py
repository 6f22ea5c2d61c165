"""The ``bottleneck`` command: finds a subcommand's module only when it is called."""

import difflib
import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import NoReturn

import click

from bottleneck import __version__
from bottleneck.cli.options import verbose_option
from bottleneck.cli.show import printable
from bottleneck.errors import BottleneckError, first_line
from bottleneck.gpus import show_one

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """The process was asked to end.

    Parameters
    ----------
    number : int
        The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def ended_by_signals() -> Iterator[list[int]]:
    """Turn the signals into :class:`Stopped` while a command runs.

    A signal that is ignored stays ignored, so that ``nohup`` works. Setting a handler is also what
    makes them reach a process with number 1, as in a container.

    Yields
    ------
    list of int
        The signals that came: whoever commits what is done may have caught the exception.
    """
    received: list[int] = []
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        if os.getpid() != process:  # a forked worker ends as it would without us
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        received.append(number)
        raise Stopped(number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


COMMANDS = {
    "demo": "The whole job on a thousand images that come with the package.",
    "init": "Look at your images, and write a pipeline for them.",
    "extract": "Images to features: stream them through a frozen backbone into a file.",
    "plan": "Many machines: list images in a set, whose shards they fill.",
    "seal": "Write the checksums of a complete set into it.",
    "train": "Features to a head: fit it, select its strength, judge it once.",
    "evaluate": "Judge a head on stored features.",
    "predict": "Label new images, by the same recipe as the head's features.",
    "edit": "A backbone to another one: layers cut off, taken out, put in.",
    "finetune": "Go on from a head: train the last layers of its backbone too.",
    "serve": "A deployed model over HTTP: an image in, its label out.",
    "drift": "Whether new images look like those a head was trained with.",
    "compare": "Backbones, layers and heads side by side, on one page.",
    "race": "Which backbone to take, found out on few of your images.",
    "view": "A feature file before anything is trained: look at its images.",
    "neighbors": "The most similar images of a feature file.",
    "graph": "The nearest neighbours of every image, as a sparse matrix.",
    "tag": "The tags that a network has for songs, by its own top.",
    "run": "Run a pipeline file; skip what is up to date.",
    "info": "What a feature file or a head is.",
    "verify": "Check a feature file against its checksums.",
    "rescue": "Save the rows of a damaged feature file.",
    "relabel": "Correct labels by a table; the features stay.",
    "merge": "Join feature files of one recipe.",
    "export": "Hand features on: smaller, NPY, Parquet, a search index.",
    "backbones": "The catalogue of backbones.",
    "bench": "How fast a backbone is on this machine.",
    "doctor": "Check this installation, with one tiny real run.",
}
"""Every command and its line in the help, so that showing it loads no command."""

EXAMPLES = {
    "demo": ("demo", "demo elsewhere --json"),
    "init": ("init photos/", "init labels.csv --label-column species -o birds.toml"),
    "extract": (
        "extract photos/ -o photos.h5",
        "extract 'shard-{000..009}.tar' -b resnet50 -b mobilenet_v2 -o '{backbone}.h5'",
    ),
    "plan": (
        "plan photos/ -o photos.set -b resnet50 --dtype float16",
        "plan 's3://photos/{000..999}.tar' -o s3://features/photos.set --rows 100000",
    ),
    "seal": ("seal photos.set", "seal s3://features/photos.set --json"),
    "train": ("train photos.h5 -o photos.head", "train photos.h5 -o knn.head --head knn --set k=5"),
    "evaluate": ("evaluate photos.head photos.h5", "evaluate photos.head other.h5 --split all"),
    "tag": (
        "tag new/*.mp3 --weights music_tagger_crnn_weights.h5",
        "tag song.mp3 --weights music_tagger_crnn_weights.h5 --top-k 3",
    ),
    "predict": ("predict photos.head new/ -o labels.csv", "predict photos.head new.jpg --top-k 3"),
    "edit": (
        "edit vgg16 -o short.keras --cut block4_pool",
        "edit vgg16 -o wide.keras --replace block1_conv1..block1_conv2:conv5.toml",
    ),
    "finetune": (
        "finetune photos.head photos/ -o photos.keras --unfreeze last:5",
        "finetune photos.head photos/ -o photos.keras --unfreeze-from block5 --json",
    ),
    "drift": (
        "drift photos.head new/ -f photos.h5",
        "drift photos.head new/ -f photos.h5 -o drift.html",
    ),
    "serve": ("serve model.onnx", "serve photos.keras --host 0.0.0.0 --port 80"),
    "compare": (
        "compare lite0.h5 resnet50.h5 -o report.html",
        "compare layers.h5 --heads logreg,knn --save-best best.head",
    ),
    "race": (
        "race photos/ -b efficientnet_lite0 -b resnet50 -o race/race.json",
        "race photos/ -b resnet50 --resize crop --resize squash -o rules/race.json --budget 10m",
    ),
    "view": ("view photos.h5", "view photos.h5 -o look.html"),
    "neighbors": ("neighbors photos.h5 new.jpg", "neighbors photos.h5 new.jpg -k 3 --json"),
    "graph": ("graph photos.h5 -o graph.npz", "graph photos.h5 -o far.npz -k 5 --metric euclidean"),
    "run": ("run pipeline.toml", "run pipeline.toml --dry-run --set backbone=resnet50"),
    "info": ("info photos.h5", "info photos.head --json"),
    "verify": ("verify photos.h5", "verify photos.h5 --fix"),
    "rescue": (
        "rescue broken.h5 -o saved.h5",
        "rescue broken.h5 -o saved.h5 --like other.h5",
    ),
    "relabel": (
        "relabel photos.h5 corrections.csv -o corrected.h5",
        "relabel photos.h5 fixes.csv -o corrected.h5 --json",
    ),
    "merge": ("merge a.h5 b.h5 -o all.h5", "merge may.h5 june.h5 -o both.h5 --concatenate"),
    "export": ("export photos.h5 -o photos.parquet", "export photos.h5 -o board --to tensorboard"),
    "backbones": ("backbones", "backbones efficientnet --max-params 10M"),
    "bench": ("bench", "bench photos/ -b resnet50 --runtime openvino"),
    "doctor": ("doctor", "doctor --json"),
}
"""Two examples of each command, for its help."""


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own name beside this one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the job."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"bottleneck.cli.{cmd_name}").command
        lines = [f"  bottleneck {example}" for example in EXAMPLES[cmd_name]]
        command.epilog = "\n".join(["\b", "Examples:", *lines])
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and name the nearest ones for one that there is not."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0].lower(), COMMANDS)
            told = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{told}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])


def _environment(name: str, value: str | None) -> None:
    """Keep what a process that is started is to know too."""
    if value:
        os.environ[f"BOTTLENECK_{name}"] = value


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "BOTTLENECK"},
    epilog="Begin with: bottleneck extract FOLDER -o features.h5",
)
@click.version_option(__version__, prog_name="bottleneck")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
@verbose_option
@click.option("--log", metavar="FILE", help="Add what happens to a file, a line of JSON each.")
@click.option(
    "--catalogue",
    metavar="FOLDER",
    expose_value=False,
    callback=lambda context, option, folder: _environment("CATALOGUE", folder),
    help="A folder with backbones of a team: `bottleneck backbones add --shared`.",
)
@click.option(
    "--weights-dir",
    metavar="FOLDER",
    type=click.Path(),  # in the environment, between colons
    multiple=True,
    expose_value=False,
    callback=lambda context, option, folders: _environment("WEIGHTS_DIR", os.pathsep.join(folders)),
    help="Where published weights are looked for, by what is in them; repeatable.",
)
def cli(debug: bool, log: str | None) -> None:
    """Features from frozen backbones, and cheap heads on top.

    Images are streamed through a pretrained network once; heads are trained on the stored
    features as often as you like. Results go to standard output, everything else to standard
    error.
    """


def main() -> NoReturn:
    """Run the command line; the one place where errors become messages and exit codes."""
    _open_streams()
    with ended_by_signals() as received:
        _run(received)


def _open_streams() -> None:
    """Make the three standard streams ones that can be used, whoever has started us.

    Where one is closed (``2>&-``), the next file that is opened gets its number, a feature file
    for one, and whatever a library says on standard error is written into it. And what a terminal
    has no letter for is no reason to end.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(number, True)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _run(received: Sequence[int]) -> NoReturn:
    debug = "--debug" in sys.argv[1:] or bool(os.environ.get("BOTTLENECK_DEBUG"))
    # Its `bottleneck` is another package (docs/decisions/0001): doctor says so, once is enough.
    warnings.filterwarnings("ignore", "Pandas requires version .* of 'bottleneck'", UserWarning)
    try:
        show_one()  # what computes here takes hold of no other card
        code = cli.main(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        number = received[0] if received else signal.SIGINT
        _say("interrupted" if number == signal.SIGINT else f"ended by {_name(number)}")
        sys.exit(128 + number)
    except BrokenPipeError:
        # The reader of our output has gone, as with `| head`; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except BottleneckError as error:
        if debug:
            traceback.print_exc()
        _say(f"error: {error.message}", error.hint)
        sys.exit(error.exit_code)
    except (OSError, MemoryError) as error:
        if debug:
            traceback.print_exc()
        _say(f"error: {_told(error)}")
        sys.exit(1)
    except Exception as error:  # noqa: BLE001  # the last resort, so that nobody sees a traceback
        if debug:
            traceback.print_exc()
        _say(
            f"unexpected error: {type(error).__name__}: {error}",
            None
            if debug
            else "This is a defect: `bottleneck --debug ...` shows where it happened.",
        )
        sys.exit(1)


def _told(error: OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return f"not enough memory: {first_line(error)}"
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}"


def _name(number: int) -> str:
    return signal.Signals(number).name


def _say(message: str, hint: str | None = None) -> None:
    for line in filter(None, (message, hint)):
        click.echo("\n".join(map(printable, line.split("\n"))), err=True)
