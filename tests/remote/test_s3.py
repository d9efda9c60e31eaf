"""Checkpoints in an object store: read by ranges, written by multipart upload, there once they are complete."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import s3fs
import torch
from safetensors.numpy import load, save_file

import statedict as sd
from statedict.errors import ReadError, StatedictError, WriteError
from statedict.interop import stores, uploads
from statedict.interop.s3 import S3Store
from tests.commands import run
from tests.remote.objects import ENVIRONMENT, s3_server

pytestmark = pytest.mark.slow
MIB = 1 << 20


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as url:
        yield url


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The URL of an empty bucket, for which the environment holds endpoint and credentials."""
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    name = f"b{abs(hash(request.node.name)):x}"
    s3fs.S3FileSystem.clear_instance_cache()
    objects().mkdir(name)
    return f"s3://{name}"


def objects() -> Any:
    return s3fs.S3FileSystem()


@pytest.fixture
def net(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    values = {f"layers.{at}.weight": rng.standard_normal(MIB, dtype="f4") for at in range(6)}
    save_file(values, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def test_what_is_saved_is_read_again(bucket: str, net: Path) -> None:
    saved = sd.save(sd.open(net), f"{bucket}/models/net.safetensors", verify=True)

    assert str(saved.path) == f"{bucket}/models/net.safetensors"
    assert objects().cat_file(f"{bucket}/models/net.safetensors") == _written(net)
    assert sd.stats(sd.open(f"{bucket}/models/net.safetensors")).total == sd.stats(sd.open(net)).total


def _written(net: Path) -> bytes:
    """The same saved here."""
    sd.save(sd.open(net), net.with_name("again.safetensors"))
    return net.with_name("again.safetensors").read_bytes()


def test_a_zip_archive_with_its_checksums(bucket: str, net: Path) -> None:
    sd.save(sd.open(net), f"{bucket}/net.pt")
    sd.save(sd.open(net), net.with_name("net.pt"))

    assert objects().cat_file(f"{bucket}/net.pt") == net.with_name("net.pt").read_bytes()
    assert sd.fingerprint(sd.open(f"{bucket}/net.pt")).model == sd.fingerprint(sd.open(net)).model


def test_shards_come_before_their_index(bucket: str, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    send = uploads.upload
    monkeypatch.setattr(uploads, "upload", lambda url, size: (order.append(url), send(url, size))[1])

    sd.save(sd.open(net), f"{bucket}/model", max_shard_size="9MB")

    assert order[-1] == f"{bucket}/model/model.safetensors.index.json"
    assert len(order) == 4
    assert sd.fingerprint(sd.open(f"{bucket}/model")).model == sd.fingerprint(sd.open(net)).model


def test_a_new_set_of_shards_takes_the_old_ones_place(bucket: str, net: Path) -> None:
    model = sd.open(net)
    sd.save(model, f"{bucket}/model", max_shard_size="9MB")
    sd.save(sd.cast(model, "bfloat16"), f"{bucket}/model", max_shard_size="9MB")

    names = [path.rpartition("/")[2] for path in objects().ls(f"{bucket}/model", refresh=True)]
    assert names == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    assert next(sd.open(f"{bucket}/model").parameters()).dtype == sd.dtype("bfloat16")


@pytest.mark.parametrize("size", [1, 40])
def test_after_a_fault_there_is_what_there_was(bucket: str, size: int, tmp_path: Path) -> None:
    fs = objects()
    fs.pipe_file(f"{bucket}/net.safetensors", b"old")
    save_file({f"t{at}": np.zeros(MIB // 4, "f4") for at in range(size)}, tmp_path / "net.safetensors")
    model = sd.open(tmp_path / "net.safetensors")
    with (tmp_path / "net.safetensors").open("r+b") as file:
        file.truncate(600_000)

    with pytest.raises(StatedictError, match=r"truncated|changed"):
        sd.save(model, f"{bucket}/net.safetensors")

    fs.invalidate_cache()
    assert fs.cat_file(f"{bucket}/net.safetensors") == b"old"
    assert fs.ls(bucket, refresh=True, detail=False) == [f"{bucket.removeprefix('s3://')}/net.safetensors"]
    assert "Uploads" not in fs.call_s3("list_multipart_uploads", Bucket=bucket.removeprefix("s3://"))


def test_a_changed_object_is_an_error(bucket: str, net: Path) -> None:
    sd.save(sd.open(net), f"{bucket}/net.safetensors")
    model = sd.open(f"{bucket}/net.safetensors")
    sd.save(sd.cast(model, "bfloat16"), f"{bucket}/net.safetensors")

    with pytest.raises(ReadError, match=r"has been changed since it was opened"):
        sd.stats(model)


def test_a_missing_object_is_told(bucket: str) -> None:
    with pytest.raises(ReadError, match="cannot be opened: no such file"):
        sd.open(f"{bucket}/net.safetensors")


def test_a_missing_bucket_is_told(bucket: str, net: Path) -> None:
    with pytest.raises(WriteError, match=r"s3://no-such-bucket/net\.safetensors: cannot be written: "):
        sd.save(sd.open(net), "s3://no-such-bucket/net.safetensors")


def test_the_command_line_reads_and_writes_urls(bucket: str, net: Path) -> None:
    assert run("convert", str(net), f"{bucket}/a.safetensors").out.startswith(f"{bucket}/a.safetensors: ")
    assert run("convert", f"{bucket}/a.safetensors", f"{bucket}/a.safetensors").code == 2
    assert "is there already" in run("convert", str(net), f"{bucket}/a.safetensors").err
    edited = run(
        "edit", f"{bucket}/a.safetensors", f"{bucket}/b.safetensors", "--rename", "layers.{i}.**=blocks.{i}.**"
    )
    assert edited.code == 0, edited.err
    assert (
        run("prune", f"{bucket}/a.safetensors", f"{bucket}/c.safetensors", "-a", "0.5", "--protect", "none").code == 0
    )
    assert run("merge", f"{bucket}/a.safetensors", f"{bucket}/c.safetensors", f"{bucket}/d.safetensors").code == 0
    assert run("diff", f"{bucket}/a.safetensors", str(net)).code == 0
    assert run("hash", f"{bucket}/a.safetensors", "--manifest", f"{bucket}/a.json").code == 0
    assert run("hash", str(net), "--verify", f"{bucket}/a.json").code == 0
    assert run("check", f"{bucket}/a.safetensors").code == 0
    held = load(objects().cat_file(f"{bucket}/b.safetensors"))
    assert sorted(held) == [f"blocks.{at}.weight" for at in range(6)]


def test_companions_are_copied(bucket: str, net: Path) -> None:
    folder = net.with_name("model")
    sd.save(sd.open(net), folder, max_shard_size="9MB")
    (folder / "config.json").write_text('{"torch_dtype": "float32"}')
    (folder / "tokenizer.txt").write_text("a b")

    assert run("convert", str(folder), f"{bucket}/there", "--dtype", "bf16").code == 0
    ran = run("convert", f"{bucket}/there", str(net.with_name("back")))

    assert ran.code == 0, ran.err
    assert (net.with_name("back") / "tokenizer.txt").read_text() == "a b"
    assert '"bfloat16"' in (net.with_name("back") / "config.json").read_text()


def test_credentials_are_never_shown(bucket: str, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sd.save(sd.open(net), f"{bucket}/net.safetensors")
    shown = [run("tree", f"{bucket}/net.safetensors"), run("tree", f"{bucket}/none.pt"), run("tree", "s3://none/a.pt")]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(s3fs.core.asyncio, "sleep", _at_once)
    shown.append(run("tree", f"{bucket}/net.safetensors"))

    text = "".join(each.out + each.err for each in shown)
    assert [each.code for each in shown] == [0, 2, 2, 2]
    for secret in ENVIRONMENT.values():
        assert secret not in text or secret == "us-east-1"


async def _at_once(seconds: float) -> None: ...


def test_a_torch_file_in_a_store(bucket: str, tmp_path: Path) -> None:
    torch.save({"a.weight": torch.arange(12.0).reshape(3, 4)}, tmp_path / "net.pt")
    objects().put_file(tmp_path / "net.pt", f"{bucket}/net.pt")

    assert sd.open(f"{bucket}/net.pt").get_parameter("a.weight").numpy().tolist()[2] == [8, 9, 10, 11]


def test_headers_are_kept(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATEDICT_CACHE", str(tmp_path / "cache"))
    asked: list[int] = []
    ask = S3Store._asked

    def counted(self: S3Store, *arguments: Any) -> Any:
        asked.append(arguments[-1] - arguments[-2])
        return ask(self, *arguments)

    monkeypatch.setattr(S3Store, "_asked", counted)
    for values in ({f"layers.{at}.weight": np.zeros(3, "f4") for at in range(1000)}, {"w": np.zeros(3, "f4")}):
        save_file(values, tmp_path / "net.safetensors")
        objects().put_file(tmp_path / "net.safetensors", f"{bucket}/net.safetensors")
        for expected in (None, [1]):
            asked.clear()
            assert len(list(sd.open(f"{bucket}/net.safetensors").parameters())) == len(values)
            assert expected is None or asked == expected
        assert list((tmp_path / "cache" / "headers").iterdir())


def test_any_other_store_of_fsspec(net: Path) -> None:
    sd.save(sd.open(net), "memory://models/net.safetensors")

    model = sd.open("memory://models/net.safetensors")
    assert sd.stats(model).total == sd.stats(sd.open(net)).total
    fs, _ = stores.file_system("memory://models/net.safetensors")
    assert [path.rpartition("/")[2] for path in fs.ls("/models", detail=False)] == ["net.safetensors"]
    fs.pipe_file("/models/net.safetensors", _written(net)[:-1] + b"x")
    with pytest.raises(ReadError, match="has been changed"):
        sd.stats(model)


def test_an_unknown_store_is_told() -> None:
    with pytest.raises(ReadError, match="no store is known for it"):
        sd.open("nosuch://a/b.pt")


def test_a_store_that_is_only_read_is_told(net: Path) -> None:
    with pytest.raises(WriteError, match="that store is only read"):
        sd.save(sd.open(net), "https://127.0.0.1/net.safetensors")
