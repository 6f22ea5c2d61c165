"""Which backbone to take, found out on as few images as will do.

All contenders begin on a small sample of the training images; the sample doubles, and who is
behind leaves (successive halving: K. Jamieson and A. Talwalkar, Non-stochastic Best Arm
Identification and Hyperparameter Optimization, AISTATS 2016). Nobody leaves for being in the lower
half: only whose interval of the lead of the best is above zero, in every round at the level's share
of that round, and who is not catching up either. Test images are never looked at.

The features are in ordinary files, which grow with the sample and which `extract` finishes.
"""

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck import __version__, backbones
from bottleneck.comparison.alignment import Aligned, Features, align
from bottleneck.comparison.leaderboard import cost_of
from bottleneck.comparison.transferability import h_score, log_me
from bottleneck.cores import available_cores
from bottleneck.declare import command_line, listed
from bottleneck.errors import HeadError, OptionError
from bottleneck.extraction.result import ExtractResult
from bottleneck.extraction.rounds import Rounds
from bottleneck.heads.kind import TrainingData
from bottleneck.heads.registry import head_kind
from bottleneck.heads.selection.estimates import few_shots
from bottleneck.heads.selection.model_selection import two_columns
from bottleneck.heads.selection.splits import first_of_each_class, folds
from bottleneck.judge.intervals import share_interval, units_of
from bottleneck.judge.tests import ALPHA, leads_of_best
from bottleneck.manifest import SPLITS, UNLABELLED, Manifest
from bottleneck.options import ExtractOptions, RaceOptions
from bottleneck.sources import open_source
from bottleneck.writing import prepare_output, write_text

FIRST_PER_CLASS: Final = 10
FIRST: Final = 100
"""Images of the first round: so many of a class, and at least so many in all."""

SHARE: Final = 0.2
"""Of what all contenders on all images would take, the race takes at most so much by default."""

ROUNDS: Final = 6
"""The level is divided among so many rounds; a sample doubled five times is 32 of the first."""

FOLDS: Final = 5

SHOTS: Final = 4
"""Images per class that the head of few shots sees."""

_WARM: Final = 16
"""Images before the first round."""

_FEW: Final = 1 << 21

_MOST_SCORED: Final = 5000
"""Rows that the scores without a head are computed on."""


@dataclass
class Contender:
    """A backbone, with a way to bring images to its size.

    Parameters
    ----------
    name : str
        Unique in the race.
    options : ExtractOptions
        What extracts its features.
    """

    name: str
    options: ExtractOptions
    seconds_per_image: float = math.nan
    """Of its last round, from the bytes to the features."""
    last: dict[str, Any] = field(default_factory=dict)
    """Its line of the last round that it was in."""
    sample: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """The images of that round."""


@dataclass(frozen=True)
class Raced:
    """What came out.

    Parameters
    ----------
    document : mapping
        Every number, as JSON values; ``docs/compare.md`` describes it.
    """

    document: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return every number."""
        return dict(self.document)

    def __repr__(self) -> str:
        told = self.document
        return f"<Raced {len(told['leaderboard'])} backbones, takes {told['pick']}>"


def race(options: RaceOptions) -> Raced:
    """Race backbones; see :func:`bottleneck.api.race`."""
    started = time.perf_counter()
    budget = None if options.budget is None else seconds_of(options.budget)
    if not head_kind(options.head).few_rows:
        raise OptionError(
            f"expected a head that is fitted on few rows, got {options.head}",
            hint="logreg, ridge, svm and nearest_mean are some.",
        )
    place = prepare_output(options.output, kind="other", inputs=options.paths("images"))
    contenders = _contenders(options, place)
    source = open_source(listed(options.sources), (), options.choice())
    pool = _pool(source.manifest, source.name)
    course = _Course(source.manifest, pool, options)
    with Rounds(source, [one.options for one in contenders], options.progress) as files:
        course.spent["load"] = time.perf_counter() - started
        course.run(contenders, files, started, budget)
    document = course.document(contenders, started)
    document["output"] = str(options.output)
    write_text(place, json.dumps(document, indent=2, allow_nan=False) + "\n")
    return Raced(document)


class _Course:
    """A race as it goes."""

    def __init__(self, manifest: Manifest, pool: NDArray[np.int64], options: RaceOptions) -> None:
        self.manifest, self.pool, self.options = manifest, pool, options
        self.rounds: list[dict[str, Any]] = []
        self.stopped = ""
        self.budget = math.inf
        self.spent = {"load": 0.0, "extract": 0.0, "judge": 0.0}
        self.failed = 0
        self.too_many_failed = False

    def run(
        self, contenders: Sequence[Contender], files: Rounds, started: float, budget: float | None
    ) -> None:
        """Race until one is left, time is up, or every training image is used."""
        racing = list(range(len(contenders)))
        size = self._first_size()
        done = 0
        # The first pass of a network is slow, and rates are taken from the last ones.
        self._extract(contenders, files, racing, self._sample(min(size, _WARM)))
        begun = time.perf_counter()
        while True:
            full = sum(one.seconds_per_image for one in contenders) * len(self.manifest)
            self.budget = SHARE * full if budget is None else budget
            spent = time.perf_counter() - (begun if budget is None else started)
            affordable = self._affordable(contenders, racing, done, self.budget - spent)
            if done and affordable < min(size, 1.25 * done):
                self.stopped = f"the next round would take more than {self.budget:.0f} s"
                return
            if not done and budget is None:
                affordable = size  # the first round is always run, unless a budget forbids it
            size = max(min(size, affordable), self._least())
            sample = self._sample(size)
            self._extract(contenders, files, racing, sample)
            racing = self._judge(contenders, racing, sample)
            done = size
            if len(racing) == 1:
                self.stopped = "one is left"
                return
            if size >= len(self.pool):
                self.stopped = "every training image is used"
                return
            size = min(2 * size, len(self.pool))

    def document(self, contenders: Sequence[Contender], started: float) -> dict[str, Any]:
        """Put everything together, best first."""
        order = sorted(
            contenders,
            key=lambda one: (
                one.last["left"] is not None,
                -one.last["round"],
                -one.last["accuracy"],
                one.seconds_per_image,
            ),
        )
        board = [
            {"rank": rank + 1, **one.last, **self._facts(one)} for rank, one in enumerate(order)
        ]
        pick = order[0]
        return {
            "bottleneck": __version__,
            "images": len(self.manifest),
            "training_images": len(self.pool),
            "classes": list(self.manifest.classes),
            "head": self.options.head,
            "seed": self.options.seed,
            "alpha": ALPHA,
            "budget_seconds": round(self.budget, 3),
            "seconds": round(time.perf_counter() - started, 3),
            "stages": {stage: round(took, 3) for stage, took in self.spent.items()},
            "stopped": self.stopped,
            "rounds": self.rounds,
            "leaderboard": board,
            "pick": pick.name,
            "command": command_line("extract", pick.options),
            "rows": len(self.manifest),
            "failed": self.failed,
            "too_many_failed": self.too_many_failed,
        }

    def _first_size(self) -> int:
        classes = len(np.unique(self.manifest.labels[self.pool]))
        return min(max(FIRST_PER_CLASS * classes, FIRST), len(self.pool))

    def _least(self) -> int:
        return min(2 * len(np.unique(self.manifest.labels[self.pool])), len(self.pool))

    def _sample(self, size: int) -> NDArray[np.int64]:
        """Take about so many training rows, of every class its share: part of any larger one."""
        labels = self.manifest.labels[self.pool].astype(np.int64)
        keys = [self.manifest.keys[int(row)] for row in self.pool]
        share = size / len(self.pool)
        taken = first_of_each_class(
            keys,
            labels,
            np.ones(len(labels), bool),
            lambda count: min(count, max(2, round(share * count))),
            seed=self.options.seed,
        )
        return self.pool[taken]

    def _affordable(
        self, contenders: Sequence[Contender], racing: Sequence[int], done: int, left: float
    ) -> int:
        """Return the size of a sample that the seconds left allow."""
        each = sum(contenders[i].seconds_per_image for i in racing)
        judging = self.rounds[-1]["seconds"] / done if self.rounds else 0.0
        return done + int(max(left, 0.0) / (each + 2 * judging))

    def _extract(
        self,
        contenders: Sequence[Contender],
        files: Rounds,
        racing: Sequence[int],
        sample: NDArray[np.int64],
    ) -> None:
        self.options.progress.stage(
            f"round {len(self.rounds) + 1}: {len(racing)} backbones on {len(sample)} images"
        )
        began = time.perf_counter()
        results = files.fill(racing, sample)
        self.spent["extract"] += time.perf_counter() - began
        for i, result in zip(racing, results, strict=True):
            if result.interrupted:
                raise KeyboardInterrupt
            self.failed = max(self.failed, result.failed_total)
            self.too_many_failed |= result.too_many_failed
            if result.computed and result.images_per_second:
                contenders[i].seconds_per_image = _seconds_per_image(result)
        for i in racing:
            if math.isnan(contenders[i].seconds_per_image):  # all was in the file already
                (features,) = align([files.paths[i]]).features
                rate = cost_of(features).images_per_second
                contenders[i].seconds_per_image = 0.0 if rate is None else 1 / rate

    def _judge(
        self, contenders: Sequence[Contender], racing: Sequence[int], sample: NDArray[np.int64]
    ) -> list[int]:
        """Judge those in the race on the sample; return those that stay."""
        began = time.perf_counter()
        progress, number = self.options.progress, len(self.rounds) + 1
        aligned = align([str(contenders[i].options.output) for i in racing])
        rows = np.flatnonzero(np.isin(aligned.features[0].rows, sample))
        judged = []
        for i, features in zip(racing, aligned.features, strict=True):
            progress.stage(f"round {number}: {contenders[i].name}")
            judged.append(_judge(aligned, features, rows, self.options))
        right = np.stack([one.right for one in judged], axis=1)
        groups = aligned.groups[rows]
        best = int(right.mean(axis=0).argmax())
        leads = leads_of_best(right, best, groups, alpha=ALPHA / ROUNDS, seed=self.options.seed)
        units, stay, lines = units_of(len(rows), groups), [], []
        for k, (i, one) in enumerate(zip(racing, judged, strict=True)):
            lead = float(right[:, best].mean() - right[:, k].mean())
            gap = judged[best].few_shot - one.few_shot
            left = self._reason(lead, leads[k], gap, one.few_rows, len(rows)) if k != best else None
            line = {
                "name": contenders[i].name,
                "accuracy": float(right[:, k].mean()),
                "interval": list(share_interval(right[:, k], units)),
                "few_shot": one.few_shot,
                "behind": {"mean": lead, "low": float(leads[k][0]), "high": float(leads[k][1])},
                "best": dict(one.best),
                "left": left,
            }
            lines.append(line)
            contenders[i].last = {**line, "round": number, "judged": len(rows)}
            contenders[i].sample = sample
            if left is None:
                stay.append(i)
        took = time.perf_counter() - began
        self.spent["judge"] += took
        self.rounds.append({"images": len(rows), "seconds": round(took, 3), "contenders": lines})
        return stay

    def _reason(
        self, lead: float, interval: NDArray[np.float64], gap: float, few_rows: int, rows: int
    ) -> str | None:
        """Say why one leaves; None for one that stays."""
        if interval[0] <= 0:
            return None
        # Both leads on a line over the logarithm of the rows, up to all there are to learn from.
        reach = math.log(len(self.pool) / rows) / math.log(rows / max(few_rows, 1))
        if lead + (lead - gap) * max(reach, 0.0) <= 0:
            return None
        return (
            f"behind by {100 * lead:.1f} points ({100 * interval[0]:.1f} to "
            f"{100 * interval[1]:.1f}) on {rows} images"
        )

    def _facts(self, one: Contender) -> dict[str, Any]:
        """Say what it costs on all images, and what the scores without a head are."""
        aligned = align([str(one.options.output)])
        (features,) = aligned.features
        cost = cost_of(features)
        rows = np.flatnonzero(np.isin(features.rows, one.sample))
        scored = rows[:: -(-len(rows) // _MOST_SCORED)]
        X, y = _matrix(features, scored), aligned.y[scored]
        pending = len(self.manifest) - int(np.count_nonzero(features.store.done))
        return {
            "backbone": listed(one.options.backbone)[0],
            "resize": features.store.recipe.identity.get("image", {}).get("resize"),
            "file": str(one.options.output),
            "log_me": log_me(X, y),
            "h_score": h_score(X, y),
            "seconds_per_image": one.seconds_per_image,
            "seconds_for_all": one.seconds_per_image * len(self.manifest),
            "seconds_to_finish": one.seconds_per_image * pending,
            "images_to_finish": pending,
            "bytes_for_all": cost.bytes_per_image * len(self.manifest),
            "parameters": cost.parameters,
            "length": cost.length,
            "licence": cost.licence,
            "command": command_line("extract", one.options),
        }


@dataclass(frozen=True, eq=False)
class _Judged:
    """What a head makes of the features of a sample."""

    right: NDArray[np.bool_]
    best: Mapping[str, Any]
    few_shot: float
    few_rows: int


def _judge(
    aligned: Aligned, features: Features, rows: NDArray[np.int64], options: RaceOptions
) -> _Judged:
    """Predict every row of a sample by a head that was neither fitted nor chosen on its fold.

    Each fold takes the parameters that were best on the others, of heads that are fitted once.
    """
    kind = head_kind(options.head)
    keys = [aligned.keys[int(row)] for row in rows]
    codes = np.unique(aligned.y[rows], return_inverse=True)[1].astype(np.int64)
    if codes.max() < 1:
        raise HeadError("expected images of two or more classes to race on, got one")
    groups = aligned.groups[rows]
    fold = folds(keys, codes, groups, FOLDS, options.seed)
    outside = np.stack([fold != i for i in range(FOLDS)])
    candidates = kind.candidates(None, {})
    data = TrainingData(
        rows=features.take(rows),
        y=codes,
        outputs=int(codes.max()) + 1,
        task="classes",
        keys=keys,
        groups=groups,
        seed=options.seed,
        # Of few numbers, threads would only wait for each other.
        jobs=1 if len(rows) * features.dim < _FEW else -1,
        engine=kind.engines[0],
    )
    with kind.trainer(data) as trainer:
        scored = trainer.score(outside, candidates, fold)
        of_folds = np.stack([scored.metric[i, :, i] for i in range(FOLDS)])
        order = range(len(candidates))[:: 1 if kind.prefers == "smallest" else -1]
        right = np.zeros(len(rows), bool)
        chosen = [
            max(order, key=lambda c: float(np.nansum(np.delete(of_folds[:, c], i))))
            for i in range(FOLDS)
        ]
        for c in set(chosen):
            said = two_columns(scored.scores(c)).argmax(axis=1)
            for i in range(FOLDS):
                if chosen[i] == c:
                    right[fold == i] = (said == codes)[fold == i]
        best = candidates[max(order, key=lambda c: float(np.nanmean(of_folds[:, c])))]
        (few,) = few_shots(trainer, codes, keys, fold, best=best, shots=[SHOTS], seed=options.seed)
    return _Judged(right, best, float(few["mean"]), round(few["rows"]))


def _matrix(features: Features, rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
    read = features.take(rows)
    return np.array(read.read(0, len(rows), {}), np.float32)


def _pool(manifest: Manifest, name: str) -> NDArray[np.int64]:
    """Return the rows that heads may learn from: of the training split, where there are splits."""
    train = (
        manifest.splits == SPLITS.index("train")
        if manifest.splits.any()
        else np.ones(len(manifest), bool)
    )
    found = np.flatnonzero(train & (manifest.labels != UNLABELLED))
    if not len(found):
        raise HeadError(
            f"expected training images with a class in {name}, found none",
            hint="Backbones are raced by the classes they tell apart; docs/sources.md says where "
            "classes come from.",
        )
    return found


def _seconds_per_image(result: ExtractResult) -> float:
    """Say what an image takes from the bytes to the features, of this network alone.

    Decoding is shared among workers; on a CPU it takes the network's cores, elsewhere it runs
    beside it. The sum is what the slower case takes.
    """
    images = result.ok + result.failed
    decoding = result.decode_seconds / max(images, 1) / available_cores()
    return result.forward_seconds / result.computed + decoding


def _contenders(options: RaceOptions, place: Path) -> list[Contender]:
    """Make the options of an extraction of every backbone, with every resize rule."""
    names = listed(options.backbone)
    rules = listed(options.resizes) or (None,)
    weights = _for_each("weights", listed(options.weights), names)
    inputs = _for_each("preprocess", listed(options.preprocess), names)
    sizes = _for_each("size", listed(options.size), names)
    if len(set(names)) < len(names) or len(set(rules)) < len(rules):
        raise OptionError(f"expected different backbones and rules, got {', '.join(names)}")
    if len(names) * len(rules) < 2:
        raise OptionError(
            f"expected two or more contenders, got {', '.join(names)}",
            hint="Name more backbones (-b A -b B), or rules (--resize crop --resize squash).",
        )
    shared = {
        name: getattr(options, name)
        for name in (
            *("sources", "path_column", "label_column", "depth", "label_from", "pool"),
            *("batch_size", "workers", "precision", "dtype", "runtime", "devices", "max_failed"),
        )
    }
    found = []
    for name in names:
        file = backbones.find(name).file_name
        for rule in rules:
            stem = file if rule is None or len(rules) == 1 else f"{file}_{rule}"
            size = sizes[name]
            if size is not None and not size.isdecimal():
                raise OptionError(f"expected a size in pixels, got {size!r}")
            extract = ExtractOptions(
                **shared,
                output=str(Path(options.output).parent / f"{stem}.h5"),
                backbone=name,
                resize=rule,  # type: ignore[arg-type]  # checked by the dataclass
                weights=weights[name],
                preprocess=inputs[name],
                size=None if size is None else int(size),
            )
            found.append(Contender(name if rule is None else f"{name}, {rule}", extract))
    if str(place) in {str(Path(str(one.options.output)).resolve()) for one in found}:
        raise OptionError(f"expected a file for the result, got {options.output}")
    return found


def _for_each(option: str, given: Sequence[str], names: Sequence[str]) -> dict[str, str | None]:
    """Read ``WHAT``, of all, and ``BACKBONE=WHAT``, of one."""
    found: dict[str, str | None] = dict.fromkeys(names)
    own: dict[str, str] = {}
    general: list[str] = []
    for text in given:
        # The longest, as one name may begin with another.
        fitting = sorted((n for n in names if text.startswith(f"{n}=")), key=len)
        if fitting:
            own[fitting[-1]] = text[len(fitting[-1]) + 1 :]
        else:
            general.append(text)
    if len(general) > 1:
        raise OptionError(
            f"expected one --{option} for all, or BACKBONE=..., got {' and '.join(general)}"
        )
    if general:
        found = dict.fromkeys(names, general[0])
    return {**found, **own}


def seconds_of(text: str) -> float:
    """Read a time: ``90``, ``90s``, ``10m``, ``1.5h``.

    Raises
    ------
    OptionError
        For anything else.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    if match is None or float(match[1]) == 0:
        raise OptionError(f"expected a time as 90s, 10m or 1.5h, got {text!r}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
