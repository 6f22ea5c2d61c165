"""A head judged on a feature file's rows."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from bottleneck.errors import HeadError
from bottleneck.heads.head import Head
from bottleneck.heads.rows import Rows
from bottleneck.judge.resampling import Groups
from bottleneck.judge.scores import Judgement, judge


def judge_head(
    head: Head,
    X: ArrayLike | Rows,
    y: ArrayLike,
    classes: Sequence[str],
    groups: Groups | None = None,
) -> Judgement:
    """Judge a head on rows whose labels are another file's codes.

    Classes are matched by name: a file with other or fewer classes numbers them otherwise.
    The table lists the head's classes in its order, then classes with rows that the head
    never saw. Those rows count, as errors; their classes are named in
    :attr:`Judgement.unknown_classes`.

    Parameters
    ----------
    head : Head
        What is judged; call :meth:`Head.require_features` first.
    X : array or Rows, float32 or float16, shape (n, head.dim)
        Features; rows of a file are read block by block.
    y : array of int, shape (n,)
        Codes, indices into ``classes``; unlabelled rows are left out by the caller.
    classes : sequence of str
        The file's class names.
    groups : array of int, shape (n,), optional
        Rows of one group are not independent; -1 for a row of its own.

    Raises
    ------
    HeadError
        For no rows, codes out of range, or features that do not fit.
    """
    codes = np.asarray(y, np.int64)
    if codes.size and (codes.min() < 0 or codes.max() >= len(classes)):
        raise HeadError(
            f"expected labels from 0 to {len(classes) - 1}, got {codes.min()} to {codes.max()}",
            hint="Leave unlabelled rows (-1) out.",
        )
    ours = {name: code for code, name in enumerate(head.classes)}
    unknown = tuple(classes[code] for code in np.unique(codes) if classes[code] not in ours)
    ours.update({name: len(ours) + i for i, name in enumerate(unknown)})
    translate = np.array([ours.get(name, -1) for name in classes], np.int64)
    probabilities = head.predict_proba(X)
    if probabilities is not None and unknown:
        probabilities = np.pad(probabilities, ((0, 0), (0, len(unknown))))
    scores = head.scores(X)
    if unknown:
        scores = np.pad(scores, ((0, 0), (0, len(unknown))), constant_values=-np.inf)
    return judge(
        translate[codes],
        head.predict(X),
        probabilities,
        (*head.classes, *unknown),
        unknown=unknown,
        scores=scores,
        groups=groups,
    )
