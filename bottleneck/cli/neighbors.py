"""``bottleneck neighbors``."""

from dataclasses import asdict

import click

from bottleneck.cli.options import json_option
from bottleneck.cli.show import print_json, print_table


@click.command(name="neighbors")
@click.argument("features", metavar="FEATURES.h5")
@click.argument("image", metavar="IMAGE")
@click.option("-k", "--count", metavar="N", default=10, show_default=True, help="How many.")
@click.option("--feature", metavar="NAME", help="Output of the file, where it has several.")
@click.option("--weights", metavar="WHICH", help="Where the weights are now, if they moved.")
@json_option
def command(
    *,
    features: str,
    image: str,
    count: int,
    feature: str | None,
    weights: str | None,
    as_json: bool,
) -> None:
    """Show the images of a feature file that are most similar to IMAGE.

    IMAGE goes through the recipe of the file, so its features mean the same as those stored.
    """
    from bottleneck.comparison.neighbors import neighbors

    found = neighbors(features, image, count=count, feature=feature, weights=weights)
    if as_json:
        from bottleneck.comparison.study import readable

        print_json([{**asdict(one), "key": readable(one.key)} for one in found])
        return
    print_table(
        ["cosine", "image", "label", "split"],
        [(f"{one.similarity:.4f}", one.key, one.label, one.split) for one in found],
        right=["cosine"],
    )
