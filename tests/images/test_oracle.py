"""Whole pictures against libvips; ``oracle.py`` in this folder compares any others."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets

pytest.importorskip("pyvips", reason="the other decoder: pip install 'pyvips[binary]'")
SPEC = importlib.util.spec_from_file_location("oracle", Path(__file__).with_name("oracle.py"))
oracle = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(oracle)

ROOT = Path(__file__).parents[2]
FOLDERS = [Path(sklearn.datasets.__file__).parent / "images", ROOT / "data" / "sample"]
if (skimage := importlib.util.find_spec("skimage")) is not None:
    FOLDERS.append(Path(skimage.origin).parent / "data")
ENDINGS = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".tif", ".tiff", ".bmp"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_packaged_images_are_as_another_decoder_sees_them(folder):
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in ENDINGS]
    verdicts = [oracle.judge(path) for path in paths[:: max(1, len(paths) // 60)]]
    assert {verdict.outcome for verdict in verdicts} <= {"equal", "refused"}
    assert sum(verdict.outcome == "equal" for verdict in verdicts) >= len(verdicts) - 1 > 0


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA", "CMYK"])
def test_every_way_of_writing_is_read_alike(tmp_path, encode, scene, kind, mode):
    if (kind, mode) in {(k, "CMYK") for k in ("PNG", "WEBP", "GIF")} | {
        ("JPEG", "P"), ("JPEG", "RGBA"),
    }:  # fmt: skip
        pytest.skip("this format has no such mode")
    image = oracle_image(scene(53, 37), mode)
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(encode(image, kind))
    verdict = oracle.judge(path)
    assert (verdict.outcome, verdict.by) == ("equal", "libvips"), verdict


def oracle_image(pixels, mode):
    from PIL import Image

    if mode == "RGBA":
        return Image.fromarray(np.dstack([pixels, pixels[:, ::-1, 2]]))
    return Image.fromarray(pixels).convert(mode)


def test_a_difference_is_found(tmp_path, encode, noise, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encode(noise))
    assert oracle.judge(path).outcome == "equal"
    decode = oracle.decode
    monkeypatch.setattr(oracle, "decode", lambda *given: decode(*given)[:, ::-1])
    assert oracle.judge(path).outcome == "different"
