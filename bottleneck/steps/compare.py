"""The step that compares feature files and heads, and writes the page."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from bottleneck.extraction.progress import Progress
from bottleneck.writing import prepare_output


@dataclass(frozen=True, kw_only=True)
class CompareStep:
    """Feature files to a leaderboard and a page.

    Parameters
    ----------
    features : tuple of str
        Feature files over the same images.
    output : str, optional
        The page, one HTML file.
    heads : str
        Names with commas. The first also makes the learning curves.
    feature : tuple of str
        Only these outputs of the files.
    images : tuple of str
        Where the images are, for thumbnails; by default where extraction found them.
    cv : int
        Folds that choose strengths (and judge, where there is no test split).
    seed : int
        Decides folds and draws.
    resamples : int
        Draws of the bootstrap.
    near : float
        Cosine of centred features from which images count as near duplicates.
    map : {"auto", "pca", "umap"}
        Maps of the features.
    """

    reads: ClassVar[tuple[str, ...]] = ("features", "images")
    writes: ClassVar[tuple[str, ...]] = ("output",)

    features: tuple[str, ...]
    output: str | None = None
    heads: str = "logreg,ridge,knn"
    feature: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    cv: int = 5
    seed: int = 0
    resamples: int = 2000
    near: float = 0.9
    map: Literal["auto", "pca", "umap"] = "auto"

    def run(self, progress: Progress) -> dict[str, Any]:
        """Compare; return the document with every number, and write the page."""
        from bottleneck.comparison.study import compare

        place = (
            prepare_output(self.output, kind="other", inputs=[*self.features, *self.images])
            if self.output
            else None
        )
        comparison = compare(
            self.features,
            heads=[name.strip() for name in self.heads.split(",") if name.strip()],
            outputs=self.feature,
            images=self.images,
            cv=self.cv,
            seed=self.seed,
            resamples=self.resamples,
            near=self.near,
            map=self.map,
            progress=progress,
        )
        page = comparison.write_html(place) if place else None
        if page:
            for note in page["notes"]:
                progress.note(note)
        return {"output": self.output, "page": page, **comparison.to_json()}
