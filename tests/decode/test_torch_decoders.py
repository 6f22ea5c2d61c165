"""Other decoders than Pillow: what they draw, and that every image they cannot have is Pillow's.

``torch`` draws; what decodes is a stand-in (Pillow's full decoding, as a tensor) beside every real
decoder that works here.
"""

import io
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from jpegs import PLAIN, files, jpeg, picture
from PIL import Image, ImageOps

from bottleneck.decode import Job, decode_stream, open_decoder
from bottleneck.decode.slot import DRAW, Want
from bottleneck.errors import DeviceMemoryError
from bottleneck.images import Geometry
from bottleneck.images.decoders import drawing
from bottleneck.images.decoders.registry import DECODERS, opener
from bottleneck.images.failures import quiet_pillow
from bottleneck.sources import open_source
from bottleneck.status import RowStatus

pytestmark = pytest.mark.skipif(
    find_spec("torch") is None, reason="torch is not installed; `make test-torch` installs it"
)
FILES = files()
SIZES = ((500, 375), (375, 500), (224, 224), (61, 43), (40, 300), (23, 23), (700, 33))


class StandIn:
    """Decodes with Pillow, and gives up on what it is told to."""

    threads = 1
    tells_memory = True

    def __init__(self, refuses=lambda file: False):
        self.refuses, self.batches = refuses, []

    def __call__(self, given):
        import torch

        self.batches.append(len(given))
        found = []
        for file in given:
            data = file.tobytes()
            try:
                with quiet_pillow:
                    pixels = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
            except OSError:
                pixels = None
            give = pixels is not None and not self.refuses(data)
            found.append(torch.from_numpy(pixels).permute(2, 0, 1) if give else None)
        return found

    def close(self):
        pass


@pytest.fixture(params=["stand-in", "torchvision", "nvimgcodec"])
def decoder(request, monkeypatch):
    """The name of a decoder that works here; nvImageCodec's on the CPU."""
    name = request.param
    if name == "stand-in":
        return stand_in(monkeypatch, StandIn())
    spec = DECODERS[name]
    lacking = [package for module, package in spec.packages.items() if not _found(module)]
    if lacking:
        pytest.skip(f"{', '.join(lacking)} is not installed")
    problem = opener(name).missing()
    if problem:
        pytest.skip(problem)
    if spec.gpu:
        monkeypatch.setattr(drawing, "DECODERS", {name: SimpleNamespace(gpu=False)})
    return name


def _found(module):
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def stand_in(monkeypatch, one):
    module = SimpleNamespace(open_decoder=lambda place: one)
    monkeypatch.setattr(drawing, "opener", lambda name: module)
    return "torchvision"


def write(folder, contents):
    folder.mkdir()
    for i, data in enumerate(contents):
        (folder / f"{i:03}.jpg").write_bytes(data)
    return open_source([str(folder)])


def run(source, inputs, *, kind="threads", batch=5, views=1, workers=2):
    """Decode everything: status, messages, digests and, for each input, pixels by row."""
    rows = np.arange(len(source.manifest) * views)
    everything = np.uint32((1 << len(inputs)) - 1)
    parts = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    job = Job(tuple(inputs), tuple(Want(g) for g in range(len(inputs))), batch, views)
    wanted = ((part, np.full(len(part), everything)) for part in parts)
    found = {"status": [], "messages": {}, "digests": [], "others": []}
    pixels = [{} for _ in inputs]
    for slot in decode_stream(open_decoder(source, workers=workers, kind=kind), job, wanted):
        n = slot.count
        found["status"] += slot.status[:n].tolist()
        found["digests"] += slot.digests[:n].tolist()
        found["messages"] |= {f.row: f.message for _, f in slot.failures()}
        found["others"] += [
            int(slot.rows[at]) for at, _, _ in slot.handed() if slot.todo[at] != DRAW
        ]
        for g, of_input in enumerate(pixels):
            at = np.flatnonzero(slot.drawn[:n] >> np.uint32(g) & 1)
            of_input |= dict(zip(slot.rows[at].tolist(), slot.images(g).copy(), strict=True))
    assert len(found["status"]) == len(rows)
    return found, pixels


def by_hand(data, size, kind, *, rule, ratio):
    """Decode in full, turn upright, resize all of it, cut the middle: by Pillow alone."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    width, height = image.size
    if rule == "pad":
        scale = size / max(width, height)
        drawn = max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))
        canvas = Image.new("RGB", (size, size), (124, 116, 104))
        at = (size - drawn[0]) // 2, (size - drawn[1]) // 2
        canvas.paste(image.resize(drawn, kind), at)
        return np.asarray(canvas)
    frame = round(size / ratio)
    if rule == "squash":
        drawn = frame, frame
    elif width <= height:
        drawn = frame, max(frame, height * frame // width)
    else:
        drawn = max(frame, width * frame // height), frame
    left, top = (round((side - size) / 2) for side in drawn)
    return np.asarray(image.resize(drawn, kind).crop((left, top, left + size, top + size)))


@pytest.mark.parametrize("rule", ["crop", "squash", "pad"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pixels_are_those_of_a_full_decoding_and_one_resize(decoder, tmp_path, rule, interpolation):
    data = [
        jpeg(picture(*size, seed=i), orientation=1 + i % 8)
        for i, size in enumerate(SIZES * 2 + SIZES[:1])
    ]
    given = Geometry(64, resize=rule, interpolation=interpolation, decoder=decoder)
    found, (pixels,) = run(write(tmp_path / "set", data), [given])
    assert found["others"] == [*range(len(data))]
    kind = Image.Resampling[interpolation.upper()]
    for row, file in enumerate(data):
        ours = pixels[row].astype(int)
        theirs = by_hand(file, 64, kind, rule=rule, ratio=given.crop_ratio)
        assert np.abs(ours - theirs).max() <= 1, row
        assert np.mean(ours != theirs) < 0.25, row  # much only of high ones, where rows come first


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_every_other_file_is_decoded_and_fails_as_ever(decoder, tmp_path, kind):
    source = write(tmp_path / "set", FILES.values())
    before, (exact,) = run(source, [Geometry(32)], kind=kind)
    found, (pixels,) = run(source, [Geometry(32, decoder=decoder)], kind=kind)
    assert found["status"] == before["status"]
    assert found["messages"] == before["messages"]
    assert found["digests"] == before["digests"]
    assert sum(code != RowStatus.DONE for code in found["status"]) >= 7
    names = [*FILES]
    assert [names[row] for row in found["others"]] == [*PLAIN]
    assert [*pixels] == [*exact]
    for row, image in pixels.items():
        if names[row] in PLAIN:
            assert np.abs(image.astype(int) - exact[row]).max() <= 6
        else:
            assert np.array_equal(image, exact[row])


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_what_a_decoder_gives_up_on_is_pillows(monkeypatch, tmp_path, kind):
    data = [jpeg(picture(80, 60, seed=i)) for i in range(17)]
    refused = {1, 2, 5, 9, 16}
    known = {data[i] for i in refused}
    one = StandIn(lambda file: file in known)
    name = stand_in(monkeypatch, one)
    source = write(tmp_path / "set", data)
    _, (exact,) = run(source, [Geometry(32)])
    found, (pixels,) = run(source, [Geometry(32, decoder=name)], kind=kind)
    assert found["others"] == [i for i in range(17) if i not in refused]
    assert one.batches == [5, 5, 5, 2]
    assert set(found["status"]) == {RowStatus.DONE}
    for i in range(17):
        assert np.array_equal(pixels[i], exact[i]) == (i in refused)


def test_damaged_files_fail_as_they_do_with_pillow(decoder, tmp_path):
    rng = np.random.default_rng(5)
    data = []
    for i in range(150):
        damaged = bytearray(FILES[PLAIN[i % len(PLAIN)]])
        for at in rng.integers(2, 700, rng.integers(1, 4)):
            damaged[at % len(damaged)] = rng.integers(256)
        if i % 5 == 0:
            del damaged[int(rng.integers(2, len(damaged))) :]
        data.append(bytes(damaged))
    source = write(tmp_path / "set", data)
    before, _ = run(source, [Geometry(32)], batch=50)
    found, _ = run(source, [Geometry(32, decoder=decoder)], batch=50)
    assert found["status"] == before["status"]
    assert found["messages"] == before["messages"]
    assert len(before["messages"]) > 30
    assert len(found["others"]) > 50


@pytest.mark.parametrize("rule", ["crop", "squash", "pad"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_gpu_draws_what_a_cpu_draws(rule, interpolation):
    """Its way, computed here: in floating-point numbers that are rounded in between.

    Of high pictures Pillow resizes rows first; two steps have it as PyTorch has.
    """
    import torch

    given = Geometry(64, resize=rule, interpolation=interpolation)
    for i, size in enumerate(SIZES):
        place = given.place(*size)
        image = picture(*size, seed=i)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        found = drawing.in_two_passes(pixels, given, place)[0].permute(1, 2, 0).numpy()
        kind = Image.Resampling[interpolation.upper()]
        columns = image.resize((place.drawn[0], image.height), kind)
        exact = np.asarray(columns.resize(place.drawn, kind).crop(place.window))
        assert np.abs(found.astype(int) - exact).max() <= 1
        assert np.mean(found != exact) < 0.01


def test_several_inputs_are_drawn_from_one_decoding(monkeypatch, tmp_path):
    one = StandIn()
    name = stand_in(monkeypatch, one)
    data = [jpeg(picture(80 + i, 60, seed=i)) for i in range(6)]
    source = write(tmp_path / "set", data)
    inputs = [Geometry(32, decoder=name), Geometry((20, 30), resize="squash", decoder=name)]
    _, together = run(source, inputs)
    assert sum(one.batches) == 6
    for given, pixels in zip(inputs, together, strict=True):
        _, (alone,) = run(source, [given])
        assert all(np.array_equal(pixels[row], alone[row]) for row in range(6))


def test_the_batch_and_its_neighbours_change_no_pixel(decoder, tmp_path):
    data = [jpeg(picture(80, 60 + i % 3, seed=i)) for i in range(11)]
    source = write(tmp_path / "set", data)
    given = Geometry(32, decoder=decoder)
    _, (one,) = run(source, [given], batch=11)
    _, (other,) = run(source, [given], batch=3)
    assert all(np.array_equal(one[row], other[row]) for row in range(11))


def test_numbers_that_are_not_rounded(decoder, tmp_path):
    given = Geometry(32, rounded=False, crop_ratio=1.0, decoder=decoder)
    data = jpeg(picture(48, 48))
    _, (pixels,) = run(write(tmp_path / "set", [data]), [given])
    assert pixels[0].dtype == np.float32
    exact = Image.open(io.BytesIO(data)).convert("RGB").split()
    exact = [np.asarray(b.convert("F").resize((32, 32), Image.Resampling.BICUBIC)) for b in exact]
    assert np.abs(pixels[0] - np.stack(exact, -1)).max() < 0.01


def test_a_picture_that_is_cut_before_it_is_drawn(decoder, tmp_path):
    given = Geometry(32, crop_ratio=1.0, cut="picture", interpolation="bilinear", decoder=decoder)
    data = jpeg(picture(90, 61))
    _, (pixels,) = run(write(tmp_path / "set", [data]), [given])
    cut = Image.open(io.BytesIO(data)).convert("RGB").crop((14, 0, 75, 61))
    exact = np.asarray(cut.resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(pixels[0] - exact).max() <= 1


def test_a_strip_is_pillows(decoder, tmp_path):
    data = jpeg(picture(2000, 3))
    source = write(tmp_path / "set", [data])
    _, (exact,) = run(source, [Geometry(224)])
    found, (pixels,) = run(source, [Geometry(224, decoder=decoder)])
    assert found["others"] == []
    assert np.array_equal(pixels[0], exact[0])


def test_views_are_pillows(monkeypatch, tmp_path):
    name = stand_in(monkeypatch, StandIn())
    source = write(tmp_path / "set", [jpeg(picture(80, 60, seed=i)) for i in range(3)])
    _, (exact,) = run(source, [Geometry(32)], views=3, batch=6)
    found, (pixels,) = run(source, [Geometry(32, decoder=name)], views=3, batch=6)
    assert found["others"] == []
    assert all(np.array_equal(pixels[row], exact[row]) for row in range(9))


def test_a_full_memory_halves_what_is_drawn_at_once(monkeypatch, tmp_path):
    import torch

    one = StandIn()

    class Small(StandIn):
        def __call__(self, given):
            if len(given) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return one(given)

    name = stand_in(monkeypatch, Small())
    source = write(tmp_path / "set", [jpeg(picture(80, 60, seed=i)) for i in range(7)])
    found, (pixels,) = run(source, [Geometry(32, decoder=name)], batch=7)
    assert found["others"] == [*range(7)]
    assert one.batches == [1, 2, 2, 2]
    stand_in(monkeypatch, one)
    _, (exact,) = run(source, [Geometry(32, decoder=name)])
    assert all(np.array_equal(pixels[row], exact[row]) for row in range(7))


def full_memories():
    """What a full memory looks like, of a GPU or of the machine."""
    import torch

    return [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("Error while decoding JPEG images: CUDA out of memory. Tried to allocate 9"),
        type("AcceleratorError", (RuntimeError,), {})("CUDA error: out of memory"),
        RuntimeError("Unhandled CUDA error: cudaErrorMemoryAllocation"),
        RuntimeError("NVJPEG_STATUS_ALLOCATOR_FAILURE"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
        RuntimeError("Insufficient memory (case 4)"),
    ]


def test_a_file_that_memory_does_not_suffice_for_is_not_pillows(monkeypatch, tmp_path):
    source = write(tmp_path / "set", [jpeg(picture(80, 60, seed=i)) for i in range(3)])
    for error in [*full_memories(), MemoryError()]:

        class Full(StandIn):
            def __call__(self, given, error=error):
                raise error

        name = stand_in(monkeypatch, Full())
        with pytest.raises(DeviceMemoryError, match="to draw a JPEG of 80 x 60") as caught:
            run(source, [Geometry(32, decoder=name)], batch=3)
        assert "--batch-size" in caught.value.hint
        assert str(error) in caught.value.hint


class Silent(StandIn):
    """Decodes on a GPU, with so much memory; None is all it says of what it cannot decode."""

    tells_memory = False

    def __init__(self, monkeypatch, free, refuses=lambda file: False):
        import torch

        super().__init__(refuses)
        self.free, self.kept, self.given_back = free, 0, 0
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda place: (self.free, 80 << 30))
        monkeypatch.setattr(torch.cuda, "empty_cache", self.give_back)

    def give_back(self):
        self.free, self.kept = self.free + self.kept, 0
        self.given_back += 1


def test_a_decoder_that_says_nothing_of_memory_is_asked_again(monkeypatch, tmp_path):
    """One that has enough of it cannot decode the file: that is Pillow's."""
    data = [jpeg(picture(80, 60, seed=i)) for i in range(5)]
    one = Silent(monkeypatch, 1 << 30, lambda file: file == data[2])
    name = stand_in(monkeypatch, one)
    source = write(tmp_path / "set", data)
    found, (pixels,) = run(source, [Geometry(32, decoder=name)])
    assert found["others"] == [0, 1, 3, 4]
    assert one.batches == [5, 1]
    assert one.given_back == 0
    _, (exact,) = run(source, [Geometry(32)])
    assert np.array_equal(pixels[2], exact[2])


def test_what_a_decoder_gives_up_on_without_memory_is_not_pillows(monkeypatch, tmp_path):
    data = [jpeg(picture(80, 60, seed=i)) for i in range(5)]
    one = Silent(monkeypatch, 5 << 20, lambda file: file == data[2])
    name = stand_in(monkeypatch, one)
    with pytest.raises(DeviceMemoryError, match="to draw a JPEG of 80 x 60") as caught:
        run(write(tmp_path / "set", data), [Geometry(32, decoder=name)])
    assert "5 MiB free" in caught.value.hint
    assert one.given_back


def test_what_pytorch_keeps_is_given_back_before_a_file_is_blamed(monkeypatch, tmp_path):
    data = [jpeg(picture(80, 60, seed=i)) for i in range(3)]
    one = Silent(monkeypatch, 5 << 20)
    one.kept, one.refuses = 1 << 30, lambda file: one.kept > 0
    name = stand_in(monkeypatch, one)
    source = write(tmp_path / "set", data)
    found, (pixels,) = run(source, [Geometry(32, decoder=name)])
    assert found["others"] == [0, 1, 2]
    stand_in(monkeypatch, StandIn())
    _, (exact,) = run(source, [Geometry(32, decoder=name)])
    assert all(np.array_equal(pixels[row], exact[row]) for row in range(3))


def test_memory_that_comes_back_too_late_is_no_excuse(monkeypatch, tmp_path):
    """Beside a network, what there is before or after is not what there was."""
    one = Silent(monkeypatch, 1 << 30)

    def refuses(file):
        one.free = 5 << 20 if one.batches[-1] == 1 else 1 << 30
        return True

    one.refuses = refuses
    name = stand_in(monkeypatch, one)
    source = write(tmp_path / "set", [jpeg(picture(80, 60, seed=i)) for i in range(2)])
    with pytest.raises(DeviceMemoryError):
        run(source, [Geometry(32, decoder=name)])


@pytest.fixture
def torchvision_raises(monkeypatch):
    """Put a library in torchvision's place whose decoder raises what it is told to."""

    def put(error):
        def decode(files, mode, device="cpu"):
            raise error

        found = SimpleNamespace(decode_jpeg=decode, ImageReadMode=SimpleNamespace(RGB=3))
        monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(io=found))
        monkeypatch.setitem(sys.modules, "torchvision.io", found)

    return put


@pytest.mark.parametrize("name", ["nvjpeg", "torchvision"])
def test_a_full_memory_is_no_damaged_file(torchvision_raises, name):
    """It would be Pillow's, with other pixels; those who ask take fewer files at a time."""
    decode = opener(name).open_decoder("cpu")
    for error in full_memories():
        torchvision_raises(error)
        with pytest.raises(RuntimeError) as caught:
            decode([np.zeros(8, np.uint8)] * 2)
        assert caught.value is error
    torchvision_raises(RuntimeError("Error while decoding JPEG images: Failed to parse: 3"))
    assert decode([np.zeros(8, np.uint8)] * 2) == [None, None]
    decode.close()


def nvimgcodec_stand_in(monkeypatch, *, stream=lambda file: file, decode=lambda files: files):
    """Put a library in nvImageCodec's place."""

    class Decoder:
        def __init__(self, **options):
            pass

        def decode(self, streams, params, cuda_stream=None):
            return decode(streams)

    kinds = dict.fromkeys(("CPU_ONLY", "HW_GPU_ONLY", "GPU_ONLY", "HYBRID_CPU_GPU"))
    library = SimpleNamespace(
        BackendKind=SimpleNamespace(**kinds),
        Backend=lambda kind: kind,
        Decoder=Decoder,
        DecodeParams=lambda **options: options,
        ColorSpec=SimpleNamespace(SRGB=1),
        SampleFormat=SimpleNamespace(P_RGB=2),
        CodeStream=stream,
    )
    monkeypatch.setitem(sys.modules, "nvidia", SimpleNamespace(nvimgcodec=library))
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", library)


def test_a_full_memory_is_no_damaged_file_for_nvimagecodec(monkeypatch):
    for error in full_memories():

        def stream(file, error=error):
            raise error

        nvimgcodec_stand_in(monkeypatch, stream=stream)
        with pytest.raises(RuntimeError) as caught:
            opener("nvimgcodec").open_decoder("cpu")([np.zeros(8, np.uint8)])
        assert caught.value is error
    assert opener("nvimgcodec").open_decoder("cpu").tells_memory
    assert not opener("nvimgcodec").open_decoder("cuda:0").tells_memory


def test_nvimagecodec_without_a_library_that_decodes_is_missing(monkeypatch):
    """It loads without nvJPEG, and then says None of every file: all of them were Pillow's."""
    nvimgcodec_stand_in(monkeypatch, decode=lambda files: [None] * len(files))
    assert "decodes no JPEG on cpu" in opener("nvimgcodec").missing()
    nvimgcodec_stand_in(monkeypatch, decode=lambda files: [np.zeros((3, 16, 16), np.uint8)])
    assert opener("nvimgcodec").missing() is None


@pytest.mark.parametrize("name", ["nvjpeg", "torchvision", "nvimgcodec"])
def test_a_decoder_whose_trial_fails_for_want_of_memory_is_not_missing(
    monkeypatch, torchvision_raises, name
):
    for error in [*full_memories(), MemoryError()]:

        def decode(files, error=error):
            raise error

        torchvision_raises(error)
        nvimgcodec_stand_in(monkeypatch, decode=decode)
        with pytest.raises(DeviceMemoryError, match="not enough memory to begin to decode") as seen:
            opener(name).missing()
        assert seen.value.__cause__ is error
        assert "pip" not in str(seen.value)


def test_a_full_card_on_which_nothing_is_decoded_lacks_memory(monkeypatch, torchvision_raises):
    """What nvJPEG tells a number of, and nvImageCodec nothing."""
    import torch

    free = [80 << 20]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda place: (free[0], 80 << 30))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda place: SimpleNamespace(cuda_stream=0))
    torchvision_raises(RuntimeError("Error while decoding JPEG images: 5"))
    nvimgcodec_stand_in(monkeypatch, decode=lambda files: [None] * len(files))
    assert "torchvision does not decode" in opener("nvjpeg").missing()
    assert "decodes no JPEG on cuda:0" in opener("nvimgcodec").missing()
    free[0] = 60 << 20
    for name in ("nvjpeg", "nvimgcodec"):
        with pytest.raises(DeviceMemoryError, match="cuda:0 has not enough memory"):
            opener(name).missing()

    def full(place):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.cuda, "mem_get_info", full)
    with pytest.raises(DeviceMemoryError):
        opener("nvimgcodec").missing()


def test_what_breaks_in_a_decoder_ends_the_run(monkeypatch, tmp_path):
    class Broken(StandIn):
        def __call__(self, given):
            raise ValueError("the library is broken")

    name = stand_in(monkeypatch, Broken())
    source = write(tmp_path / "set", [jpeg(picture(80, 60))])
    with pytest.raises(ValueError, match="the library is broken"):
        run(source, [Geometry(32, decoder=name)])


@pytest.mark.parametrize(
    ("device", "place"),
    [
        ("gpu:1", "cuda:1"),
        ("gpu:2,gpu:3", "cuda:2"),
        ("cpu,gpu:1", "cuda:1"),
        ("tensorrt:1", "cuda:1"),
        ("cpu", "cpu"),
        ("", "cpu"),
    ],
)
def test_pictures_are_drawn_where_the_network_computes(monkeypatch, device, place):
    import torch

    asked = []
    module = SimpleNamespace(open_decoder=lambda place: asked.append(place) or StandIn())
    monkeypatch.setattr(drawing, "opener", lambda name: module)
    monkeypatch.setattr(drawing, "_own_stream", lambda place: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    drawing.open_drawer("torchvision", device).close()
    assert asked == [place]
