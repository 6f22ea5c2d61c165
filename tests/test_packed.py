import pickle

import numpy as np
import pytest

from bottleneck.packed import PackedStrings

STRINGS = ["", "a", "größe/ü.png", "", "日本", "bad\udcff", "x" * 1000]


def test_gives_back_what_was_packed():
    packed = PackedStrings.pack(iter(STRINGS))
    assert list(packed) == STRINGS
    assert [packed[i] for i in range(len(packed))] == STRINGS
    assert packed[-1] == STRINGS[-1]
    assert list(packed[1:3]) == STRINGS[1:3]
    assert pickle.loads(pickle.dumps(packed)) == packed


def test_bytes_are_utf8_and_names_that_are_not_keep_theirs():
    packed = PackedStrings.pack(["ü", "bad\udcff"])
    assert packed.blob.tobytes() == b"\xc3\xbcbad\xff"
    assert packed.offsets.tolist() == [0, 2, 6]
    assert packed.offsets.dtype == np.uint64


def test_out_of_range_is_an_error():
    with pytest.raises(IndexError):
        PackedStrings.pack(["a"])[1]


def test_equality_sees_boundaries():
    assert PackedStrings.pack(["ab", "c"]) != PackedStrings.pack(["a", "bc"])
    assert PackedStrings.pack(["ab", "c"]) == PackedStrings.pack(["ab", "c"])
