"""Every kind of source, here and behind URLs, keeps the same promises."""

import itertools

import makers
import pytest
from conformance import SourceConformance, spawned

_numbers = itertools.count()


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "made"
    path.mkdir()
    return path


class TestLocal(SourceConformance):
    @pytest.fixture(params=makers.LOCAL)
    def case(self, request, root, samples):
        return makers.LOCAL[request.param](root, samples)


class TestWeb(SourceConformance):
    @pytest.fixture(params=["csv_table", "tar", "zipped", "npz", "hdf5", "huggingface", "tfrecord"])
    def case(self, request, root, samples, web):
        case = makers.LOCAL[request.param](root, samples)
        if "*" in case.given[0]:
            # A web server need not list; names can always be written out.
            case.given = [str(root / "{test,train}-00000-of-00001")]
        return makers.send(case, root, web.url, web.put, web.remove)


@pytest.fixture(scope="module")
def process_with_s3(s3_environment):
    """One that was spawned when the settings were there."""
    yield from spawned()


class TestS3(SourceConformance):
    @pytest.fixture
    def other_process(self, process_with_s3):
        return process_with_s3

    @pytest.fixture(params=["folder", "pattern", "webdataset", "zipped", "huggingface"])
    def case(self, request, root, samples, s3):
        case = makers.LOCAL[request.param](root, samples)
        bucket = f"bucket-{next(_numbers)}"
        s3.mkdir(bucket)
        return makers.send(
            case,
            root,
            f"s3://{bucket}/deep",
            lambda name, data: s3.pipe_file(f"{bucket}/deep/{name}", data),
            lambda name: s3.rm_file(f"{bucket}/deep/{name}"),
        )


class TestMemory(SourceConformance):
    @pytest.fixture(params=["folder", "pattern", "webdataset", "hdf5", "huggingface"])
    def case(self, request, root, samples):
        import fsspec

        case = makers.LOCAL[request.param](root, samples)
        fs = fsspec.filesystem("memory")
        base = f"/test-{next(_numbers)}"
        makers.send(
            case,
            root,
            f"memory://{base}",
            lambda name, data: fs.pipe_file(f"{base}/{name}", data),
            lambda name: fs.rm_file(f"{base}/{name}"),
        )
        case.elsewhere = False  # another process has another memory
        return case
