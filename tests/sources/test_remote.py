"""URLs when things go wrong; that they work is in test_conformance."""

import os
import pickle
import socket
import subprocess
import sys

import makers
import pytest

from bottleneck.errors import ImageError, ManifestError, RuntimeUnavailableError, SourceError
from bottleneck.sources import open_source, remote
from bottleneck.status import RowStatus


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(remote, "_WAITS", (0.001, 0.001, 0.001))


def unused_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_missing_object_is_named(web):
    for name in ("none.tar", "none.csv", "none.parquet", "folder/"):
        with pytest.raises((SourceError, ManifestError)) as caught:
            open_source([f"{web.url}/{name}"])
        assert f"{web.url}/{name.rstrip('/')}" in caught.value.message


def test_a_single_image_that_is_missing_is_a_failed_row(web, samples):
    web.put("a.png", samples[0].data)
    source = open_source([f"{web.url}/a.png", f"{web.url}/b.png"])
    assert list(source.manifest.keys) == [f"{web.url}/a.png", f"{web.url}/b.png"]
    assert source.read(0) == samples[0].data
    with pytest.raises(ImageError) as caught:
        source.read(1)
    assert caught.value.reason is RowStatus.MISSING


def test_a_query_is_no_pattern(web, samples, tmp_path):
    (tmp_path / "made").mkdir()
    case = makers.zipped(tmp_path / "made", samples)
    web.put("set.zip", case.files[0].read_bytes())
    source = open_source([f"{web.url}/set.zip?signed=1&until=2"])
    assert list(source.manifest.keys) == case.keys
    assert source.read(3) == samples[3].data


def test_a_refused_connection_is_tried_again_and_then_told():
    url = f"http://127.0.0.1:{unused_port()}/set.tar"
    with pytest.raises(SourceError) as caught:
        open_source([url])
    assert url in caught.value.message
    assert "tried 4 times" in caught.value.message
    source = open_source([url.replace("set.tar", "a.png")])
    with pytest.raises(ImageError) as caught:
        source.read(0)
    assert caught.value.reason is RowStatus.UNREADABLE


@pytest.mark.parametrize("faults", [[503], [500, 502], [429, 503, 504]])
def test_trouble_that_passes_costs_nothing(web, samples, faults):
    web.put("a.png", samples[0].data)
    web.handler.faults["/a.png"] = [*faults]
    assert open_source([f"{web.url}/a.png"]).read(0) == samples[0].data
    assert web.handler.faults["/a.png"] == []


def test_trouble_that_stays_is_told_after_four_tries(web, samples):
    web.put("a.png", samples[0].data)
    web.handler.faults["/a.png"] = [503] * 9
    with pytest.raises(ImageError, match="tried 4 times") as caught:
        open_source([f"{web.url}/a.png"]).read(0)
    assert caught.value.reason is RowStatus.UNREADABLE
    assert len(web.handler.faults["/a.png"]) == 5


def test_a_refusal_is_not_tried_again(web, samples):
    web.put("a.png", samples[0].data)
    web.handler.faults["/a.png"] = [403, 403]
    with pytest.raises(ImageError, match="access denied"):
        open_source([f"{web.url}/a.png"]).read(0)
    assert web.handler.faults["/a.png"] == [403]


def test_a_server_without_ranges_is_told_from_a_damaged_file(web, tmp_path, samples):
    root = tmp_path / "made"
    root.mkdir()
    case = makers.tar(root, samples)
    web.put("set.tar", case.files[0].read_bytes() * 300)  # more than is read at once
    web.handler.ranges = False
    with pytest.raises(SourceError, match="sends whole files only"):
        open_source([f"{web.url}/set.tar"])


def test_an_object_that_became_shorter_fails_its_rows(web, tmp_path, samples):
    root = tmp_path / "made"
    root.mkdir()
    data = makers.tar(root, samples).files[0].read_bytes()
    web.put("set.tar", data)
    source = open_source([f"{web.url}/set.tar"])
    web.put("set.tar", data[:1000])
    with pytest.raises(ImageError) as caught:
        source.read(len(source) - 1)
    assert caught.value.reason in (RowStatus.TRUNCATED, RowStatus.UNREADABLE)
    assert "set.tar" in caught.value.message


def test_a_table_may_name_urls_and_files(web, tmp_path, samples):
    web.put("a.png", samples[0].data)
    (tmp_path / "b.png").write_bytes(samples[1].data)
    table = tmp_path / "list.csv"
    table.write_text(f"path,label\n{web.url}/a.png,x\nb.png,y\n")
    source = open_source([str(table)])
    assert [source.read(row) for row in (0, 1)] == [samples[0].data, samples[1].data]
    before = source.stamp()
    web.put("a.png", samples[2].data + b"longer")
    assert source.stamp() != before
    assert pickle.loads(pickle.dumps(source)).read(1) == samples[1].data


def test_buckets_without_the_object_or_at_all_are_told(s3, s3_environment):
    s3.mkdir("here")
    for url in ("s3://here/none.tar", "s3://nowhere/none.tar"):
        with pytest.raises(SourceError) as caught:
            open_source([url])
        assert url in caught.value.message
    with pytest.raises(ManifestError, match="found none"):
        open_source(["s3://here/empty/"])


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("s3://bucket/x.tar", "s3fs", "remote"),
        ("https://host/x.tar", "aiohttp", "remote"),
        ("gs://bucket/x.tar", "gcsfs", "gcs"),
        ("http://host/x.tar", "fsspec", "remote"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(url, package, extra):
    code = f"""
import sys
sys.modules[{package!r}] = None
from bottleneck.errors import RuntimeUnavailableError
from bottleneck.sources import open_source
try:
    open_source([{url!r}])
except RuntimeUnavailableError as error:
    print(error.message)
    print(error.hint)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    message, hint = told.stdout.splitlines()
    assert url in message
    assert hint == f"pip install 'bottleneck-features[{extra}]'"


def test_parquet_without_pyarrow_names_the_extra(monkeypatch, tmp_path, samples):
    case = makers.huggingface(tmp_path, samples)
    for name in [
        name for name in sys.modules if name.startswith("bottleneck.sources.formats.parquet_file")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RuntimeUnavailableError) as caught:
        open_source(case.given)
    assert caught.value.hint == "`pip install 'bottleneck-features[parquet]'`"


def test_an_unknown_protocol_is_told():
    with pytest.raises(SourceError, match="Protocol not known: zz"):
        open_source(["zz://x/y.tar"])


FORKED = """
import os, sys, warnings
warnings.simplefilter("ignore")  # newer Pythons warn of every fork
from bottleneck.sources import open_source
source = open_source([sys.argv[1]])
first = source.read(0)
rows = range(len(source))
child = os.fork()
if not child:
    code = 1
    try:
        code = 0 if [source.read(row) for row in rows][0] == first else 2
    finally:
        os._exit(code)
_, status = os.waitpid(child, 0)
after = [source.read(row) for row in rows]
print(os.waitstatus_to_exitcode(status), len(after))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("kind", ["tar", "zipped", "huggingface", "tfrecord"])
@pytest.mark.parametrize("served", [False, True])
def test_a_fork_reads_on_and_leaves_its_parent_alone(web, tmp_path, samples, kind, served):
    root = tmp_path / "made"
    root.mkdir()
    case = makers.LOCAL[kind](root, samples)
    given = str(case.files[0])
    if served:
        web.put(case.files[0].name, case.files[0].read_bytes())
        given = f"{web.url}/{case.files[0].name}"
    command = [sys.executable, "-c", FORKED, given]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    code, rows = told.stdout.split()
    assert code == "0"
    assert int(rows) == len(open_source([given]))
