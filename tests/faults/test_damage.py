"""Bits that flip, files that are cut, files that are others: found or refused, never misread."""

import random

import h5py
import numpy as np
import pytest
from faults.damage import flips_elsewhere, flips_in_rows, sized, truncations
from faults.lab import FILE


def test_verify_finds_every_flipped_bit_of_done_rows(lab, chance):
    tally = flips_in_rows(lab, 100, chance)
    assert tally.problems == []
    assert tally.counts["found"] == tally.counts["flips"] == 100


def test_a_bit_flipped_elsewhere_is_never_unnoticed(lab, chance):
    tally = flips_elsewhere(lab, 40, chance)
    assert tally.problems == []
    assert tally.counts["refused"] >= 5
    assert tally.counts["found by verify"] >= 1


def test_a_file_cut_short_is_refused(lab):
    size = (lab.prepared("whole") / FILE).stat().st_size
    tally = truncations(lab, [*sized(size, 15), size - 1])
    assert tally.problems == []
    assert tally.counts["refused"] + tally.counts["found by verify"] == 16


def test_a_forged_done_flag_is_found(lab):
    with lab.trial("part") as folder:
        with h5py.File(folder / FILE, "r+") as file:
            pending = np.flatnonzero(file["status"][()] == 0)
            file["status"][pending[4]] = 1
        report = lab.do("verify", folder)["value"]
    assert report["bad_rows"] == [pending[4]]


def test_a_file_of_another_recipe_is_refused_with_both_values(lab):
    with lab.trial("part") as folder:
        before = (folder / FILE).read_bytes()
        outcome = lab.run("extract", folder, options={"identity": {"size": 99}})
        assert (outcome["exit"], outcome["error"]) == (1, "RecipeMismatchError")
        assert "99" in outcome["message"]
        assert "16" in outcome["message"]
        assert (folder / FILE).read_bytes() == before


def test_a_file_of_other_images_is_refused(lab):
    with lab.trial("part") as folder:
        before = (folder / FILE).read_bytes()
        outcome = lab.run("extract", folder, world={"rows": 41})
        assert (outcome["exit"], outcome["error"]) == (1, "ManifestError")
        assert "41 images now, 40 in the file" in outcome["message"]
        assert (folder / FILE).read_bytes() == before


def test_a_file_of_another_version_is_refused(lab):
    with lab.trial("part") as folder:
        with h5py.File(folder / FILE, "r+") as file:
            file.attrs["format_version"] = 7
        outcome = lab.run("extract", folder)
        assert (outcome["exit"], outcome["error"]) == (1, "StoreError")
        assert "format version 7" in outcome["message"]


@pytest.mark.parametrize("kind", ["text", "hdf5", "random", "empty"])
def test_a_file_of_another_program_is_refused_and_left_alone(lab, kind):
    with lab.trial() as folder:
        path = folder / FILE
        if kind == "hdf5":
            with h5py.File(path, "w") as file:
                file["features"] = np.ones((4, 3))
        else:
            content = {"text": b"hello", "random": random.Random(0).randbytes(9000), "empty": b""}
            path.write_bytes(content[kind])
        before = path.read_bytes()
        outcome = lab.run("extract", folder)
        expected = "StoreError" if kind == "hdf5" else "DamagedStoreError"
        assert (outcome["exit"], outcome["error"]) == (1, expected)
        assert path.read_bytes() == before
