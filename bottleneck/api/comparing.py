"""Compare feature files and heads, and write the page."""

from dataclasses import replace

from bottleneck.comparison.study import Comparison
from bottleneck.comparison.study import compare as compare_features
from bottleneck.declare import listed
from bottleneck.options import CompareOptions
from bottleneck.writing import prepare_output


def compare_files(options: CompareOptions) -> Comparison:
    """Compare; see :func:`bottleneck.compare`."""
    inputs = options.paths("reads", "images")
    place = prepare_output(options.output, kind="other", inputs=inputs) if options.output else None
    comparison = compare_features(
        listed(options.features),
        heads=[name.strip() for name in str(options.heads).split(",") if name.strip()],
        outputs=listed(options.feature),
        images=listed(options.images),
        cv=options.cv,
        seed=options.seed,
        resamples=options.resamples,
        near=options.near,
        map=options.map,
        progress=options.progress,
    )
    page = comparison.write_html(place) if place else None
    for note in page["notes"] if page else ():
        options.progress.note(note)
    made = {"output": str(options.output) if place else None, "page": page}
    return replace(comparison, document={**made, **comparison.document})
