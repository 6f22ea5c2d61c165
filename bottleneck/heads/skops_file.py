"""Estimators of scikit-learn as bytes, without pickle."""

from typing import Any

from bottleneck.errors import HeadError


def dump(estimator: Any) -> bytes:
    """Write a fitted pipeline as skops does, without pickle.

    Raises
    ------
    HeadError
        For what skops would not read without being told to trust it.
    """
    from skops import io

    content: bytes = io.dumps(estimator)
    untrusted = io.get_untrusted_types(data=content)
    if untrusted:
        raise HeadError(
            f"cannot save this head without pickle: it holds {', '.join(untrusted)}",
            hint="Choose another classifier; the catalogue's heads can always be saved.",
        )
    return content


def load(content: bytes) -> Any:
    """Read what :func:`dump` wrote; builds types that skops trusts by itself, no others."""
    from skops import io

    untrusted = io.get_untrusted_types(data=content)
    if untrusted:
        raise HeadError(f"the head holds types that are not trusted: {', '.join(untrusted)}")
    return io.loads(content)
