import json
import os

import numpy as np
import pytest
from fakes import write_png

import bottleneck
from bottleneck.errors import ManifestError, PipelineError, TooManyFailuresError
from bottleneck.pipeline import load_pipeline

PIPELINE = """
[[step]]
name = "features"
run = "extract"
sources = "photos"
output = "out/f.h5"
size = 16

[[step]]
name = "train"
run = "train"
features = "out/f.h5"
output = "out/ridge.head"
head = "ridge"
C = 0.01
cv = 0

[[step]]
name = "judge"
run = "evaluate"
head = "out/ridge.head"
features = "out/f.h5"
output = "out/judged.json"
"""


@pytest.fixture
def pipeline(tmp_path, photos, monkeypatch):
    from fakes import MeanBackbone, fake_embedder

    network = MeanBackbone(dims={"mean": 3})
    network_call = MeanBackbone.__call__
    monkeypatch.setattr(
        MeanBackbone, "__call__", lambda self, batch: {"mean": network_call(self, batch)["mean"]}
    )

    def build(*, size, **_):
        return fake_embedder(network, size=size)

    monkeypatch.setattr("bottleneck.extraction.run.build_embedder", build)
    path = tmp_path / "pipeline.toml"
    path.write_text(PIPELINE)

    def run(settings=(), **options):
        network.batches.clear()
        outcomes = bottleneck.run(path, settings=settings, **options)
        return {o.name: o.action for o in outcomes}, sum(network.batches), outcomes

    run.path = path
    run.photos = photos
    return run


RAN = {"features": "ran", "train": "ran", "judge": "ran"}
SKIPPED = {"features": "skipped", "train": "skipped", "judge": "skipped"}


def test_steps_run_once_and_are_skipped_when_nothing_changed(pipeline, tmp_path):
    actions, computed, outcomes = pipeline()
    assert (actions, computed) == (RAN, 12)
    judged = json.loads((tmp_path / "out" / "judged.json").read_text())
    assert judged == outcomes[2].result
    actions, computed, again = pipeline()
    assert (actions, computed) == (SKIPPED, 0)
    assert again[2].result == judged


def test_each_step_lists_its_images_once(pipeline, monkeypatch):
    from bottleneck.sources import opening

    listed = []
    look_into = opening.look_into
    monkeypatch.setattr(
        opening, "look_into", lambda *asked: listed.append(asked) or look_into(*asked)
    )
    assert pipeline()[0] == RAN
    assert len(listed) == 1
    assert pipeline()[0] == SKIPPED
    assert len(listed) == 2  # not what an earlier run saw
    write_png(pipeline.photos / "train/ant/more.png", np.full((9, 9, 3), 77))
    with pytest.raises(ManifestError):
        pipeline()


def test_a_changed_option_runs_its_step_and_those_behind_it(pipeline):
    pipeline()
    actions, computed, _ = pipeline(["train.C=1"])
    assert actions == {"features": "skipped", "train": "ran", "judge": "ran"}
    assert computed == 0


def test_a_changed_option_of_extract_costs_no_row(pipeline):
    pipeline()
    actions, computed, _ = pipeline(["batch_size=3"])
    assert (actions["features"], computed) == ("ran", 0)


def test_a_changed_image_alone_is_computed_again(pipeline):
    pipeline()
    write_png(pipeline.photos / "train/bee/10.png", np.zeros((20, 24, 3)))
    actions, computed, _ = pipeline()
    assert (actions, computed) == (RAN, 1)
    assert pipeline()[0] == SKIPPED


def test_a_touched_image_is_looked_at_but_not_computed(pipeline):
    pipeline()
    os.utime(pipeline.photos / "train/bee/10.png", ns=(1, 1))
    actions, computed, _ = pipeline()
    assert (actions["features"], computed) == ("ran", 0)


def test_a_stop_while_looking_for_changes_is_made_good(pipeline, monkeypatch):
    pipeline()
    write_png(pipeline.photos / "train/bee/10.png", np.zeros((20, 24, 3)))

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("bottleneck.extraction.engine.changed_rows", interrupted)
        pipeline()
    actions, computed, _ = pipeline()
    assert (actions["features"], computed) == ("ran", 1)


def test_another_list_of_images_is_refused_rather_than_recomputed(pipeline):
    pipeline()
    write_png(pipeline.photos / "train/bee/99.png", [[1]])
    with pytest.raises(ManifestError, match="13 images now, 12 in the file"):
        pipeline()
    actions, computed, _ = pipeline(force=True)
    assert (actions, computed) == (RAN, 13)


def test_a_missing_output_is_made_again(pipeline, tmp_path):
    pipeline()
    (tmp_path / "out" / "ridge.head").unlink()
    actions, computed, _ = pipeline()
    assert actions == {"features": "skipped", "train": "ran", "judge": "ran"}
    assert computed == 0


def test_an_output_that_was_changed_is_made_again(pipeline, tmp_path):
    pipeline()
    (tmp_path / "out" / "judged.json").write_text("{}")
    actions, _, _ = pipeline()
    assert actions == {"features": "skipped", "train": "skipped", "judge": "ran"}


def test_it_does_not_matter_where_it_is_run_from(pipeline, monkeypatch, tmp_path):
    pipeline()
    monkeypatch.chdir("/")
    assert pipeline()[0] == SKIPPED
    monkeypatch.chdir(tmp_path)
    step = load_pipeline(pipeline.path, ["features.sources=elsewhere"])[0].step
    assert os.path.abspath(step.sources[0]) == str(tmp_path / "elsewhere")


def test_two_steps_must_not_write_one_file(pipeline):
    pipeline.path.write_text(PIPELINE.replace("out/judged.json", "out/ridge.head"))
    with pytest.raises(PipelineError, match="'train' and 'judge' both write"):
        load_pipeline(pipeline.path)


def test_images_that_are_away_stop_nothing_and_cost_nothing(pipeline, tmp_path):
    """The list is in a table; the folder is on a disk that is not there for a while."""
    lines = ["path,label,split"]
    for path in sorted(pipeline.photos.rglob("*.png")):
        split, label = path.parts[-3:-1]
        lines.append(f"{path.relative_to(tmp_path)},{label},{split}")
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    settings = [f"features.sources={tmp_path / 'list.csv'}"]
    assert pipeline(settings)[1] == 12
    pipeline.photos.rename(tmp_path / "away")
    actions, computed, outcomes = pipeline(settings)
    assert (actions["features"], computed) == ("ran", 0)
    assert outcomes[0].result["already_done"] == 12
    (tmp_path / "away").rename(pipeline.photos)
    assert pipeline(settings)[1] == 0
    write_png(pipeline.photos / "train/bee/10.png", np.zeros((20, 24, 3)))
    assert pipeline(settings)[1] == 1


def test_a_mended_image_is_computed(pipeline):
    good = (pipeline.photos / "train/bee/10.png").read_bytes()
    (pipeline.photos / "train/bee/10.png").write_bytes(b"")
    assert pipeline()[2][0].result["failed"] == 1
    (pipeline.photos / "train/bee/10.png").write_bytes(good)
    actions, computed, outcomes = pipeline()
    assert (actions["features"], computed) == ("ran", 1)
    assert outcomes[0].result["failed_total"] == 0


def test_dry_run_tells_and_does_nothing(pipeline, tmp_path):
    actions, _, _ = pipeline(dry_run=True)
    assert set(actions.values()) == {"would run"}
    assert not (tmp_path / "out").exists()
    pipeline()
    assert pipeline(dry_run=True)[0] == SKIPPED
    actions, _, outcomes = pipeline(["train.C=1"], dry_run=True)
    assert actions == {"features": "skipped", "train": "would run", "judge": "would run"}
    assert outcomes[2].why.endswith("ridge.head is rebuilt")


def test_too_many_bad_images_stop_the_pipeline(pipeline, tmp_path):
    for i in (9, 10, 11):
        (pipeline.photos / f"train/ant/{i}.png").write_bytes(b"")
    with pytest.raises(TooManyFailuresError, match="'features': 3 of 12 images failed"):
        pipeline()
    assert not (tmp_path / "out" / "ridge.head").exists()
    assert pipeline(["features.max_failed=3"])[0] == RAN


def test_the_order_of_what_is_read_is_checked(pipeline, tmp_path):
    steps = PIPELINE.split("[[step]]")
    pipeline.path.write_text("[[step]]".join([steps[0], steps[2], steps[1]]))
    with pytest.raises(PipelineError, match="'train': cannot read features"):
        pipeline()


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "[[step]]\nrun = 'extract'\nsource = 'x'\noutput = 'y'",
            "unknown key 'source'",
            "sources",
        ),
        ("[[step]]\nrun = 'extract'\nsources = 'x'", "a value for 'output'", None),
        ("[[step]]\nrun = 'learn'", "runs 'learn', expected one of extract", None),
        ("[[step]]\nname = 'x'", "step 1 does not say what to run", "'extract'"),
        ("[[steps]]\nrun = 'extract'", "unknown key 'steps'", "step"),
        ("x = 1", "unknown key 'x'", "root, step"),
        ("", "found none", None),
        ("[[step", "not valid TOML", None),
        (
            "[[step]]\nrun = 'extract'\nsources = 'x'\noutput = 'y'\nsize = 'big'",
            "expected size to be a whole number, got 'big'",
            None,
        ),
        (
            "[[step]]\nrun = 'extract'\nsources = 'x'\noutput = 'y'\nsize = true",
            "expected size to be a whole number, got True",
            None,
        ),
        (
            "[[step]]\nrun = 'extract'\nsources = 'x'\noutput = 'y'\npool = 'median'",
            "expected pool to be one of 'avg', 'max'",
            None,
        ),
        (
            "[[step]]\nrun = 'extract'\nsources = [1]\noutput = 'y'",
            "expected sources to be a list of strings",
            None,
        ),
        (
            "[[step]]\nrun='evaluate'\nname='a'\nhead='x'\nfeatures='y'\n" * 2,
            "unique step names, got 'a' twice",
            None,
        ),
    ],
)
def test_what_is_not_understood_is_named(tmp_path, text, message, hint):
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(PipelineError) as caught:
        load_pipeline(path)
    assert message in caught.value.message
    assert hint is None or hint in caught.value.hint


@pytest.mark.parametrize("setting", ["C", "nobody.C=1", "colour=red"])
def test_settings_that_fit_nothing_are_named(pipeline, setting):
    with pytest.raises(PipelineError, match=setting):
        load_pipeline(pipeline.path, [setting])


def test_settings_are_typed(pipeline):
    steps = load_pipeline(pipeline.path, ["features.size=32", "jobs=-1", "features.backbone=vgg16"])
    assert steps[0].step.size == 32
    assert steps[0].step.backbone == ("vgg16",)
    assert steps[1].step.jobs == -1
    with pytest.raises(PipelineError, match="size to be a whole number"):
        load_pipeline(pipeline.path, ["features.size=large"])


def test_paths_start_at_the_file_or_at_its_root(pipeline, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    step = load_pipeline(pipeline.path)[0].step
    assert os.path.abspath(step.sources[0]) == str(pipeline.photos)
    pipeline.path.write_text('root = "deeper/.."\n' + PIPELINE)
    step = load_pipeline(pipeline.path)[0].step
    assert os.path.abspath(step.output) == str(tmp_path / "out" / "f.h5")


def test_urls_are_the_same_from_everywhere(tmp_path):
    (tmp_path / "deep").mkdir()
    urls = ["s3://bucket/x-{0..3}.tar", "https://example.org/a.zip"]
    text = (
        f'root = ".."\n[[step]]\nrun = "extract"\nsources = {json.dumps(urls)}\noutput = "x.h5"\n'
    )
    (tmp_path / "deep/p.toml").write_text(text)
    (step,) = load_pipeline(tmp_path / "deep/p.toml")
    assert list(step.step.sources) == urls
    (step,) = load_pipeline(tmp_path / "deep/p.toml", [f"sources={json.dumps(urls[1:])}"])
    assert list(step.step.sources) == urls[1:]
