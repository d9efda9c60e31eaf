"""Checkpoints on web servers: what is asked for, and what becomes of servers that are busy, broken or changing."""

import os
import socket
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import statedict as sd
from statedict.errors import ReadError, UnknownFormatError
from tests.commands import run
from tests.remote.servers import WebServer, web_server
from tests.remote.sparse import sparse_model

MIB = 1 << 20


@pytest.fixture
def web(tmp_path: Path) -> Generator[WebServer]:
    with web_server(tmp_path) as server:
        yield server


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries that are as short as can be."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def weights(
    folder: Path, name: str = "net.safetensors", *, tensors: int = 6, size: int = MIB // 2
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    values = {f"layers.{at}.weight": rng.standard_normal(size, dtype="f4") for at in range(tensors)}
    save_file(values, folder / name)
    return values


def test_a_tree_costs_one_request(web: WebServer) -> None:
    weights(web.folder)

    model = sd.open(f"{web.url}/net.safetensors")

    assert len(list(model.parameters())) == 6
    assert [size for _, _, size in web.requests] == [1 << 15]


def test_a_tensor_is_read_by_its_range(web: WebServer) -> None:
    values = weights(web.folder)
    model = sd.open(f"{web.url}/net.safetensors")
    web.forget()

    found = model.get_parameter("layers.2.weight")[10:20].numpy()

    assert found.tobytes() == values["layers.2.weight"][10:20].tobytes()
    assert web.asked() == 40


def test_statistics_read_everything_once(web: WebServer) -> None:
    weights(web.folder)
    local = sd.stats(sd.open(web.folder / "net.safetensors"))
    model = sd.open(f"{web.url}/net.safetensors")
    web.forget()

    remote = sd.stats(model)

    assert remote.total == local.total
    assert [size for _, _, size in sorted(web.requests)] == [8 * MIB, 4 * MIB]


def test_a_torch_file_is_read_by_few_requests(web: WebServer) -> None:
    state = {f"layers.{at}.weight": torch.randn(300, 100) for at in range(40)}
    torch.save(state, web.folder / "net.pt")
    size = (web.folder / "net.pt").stat().st_size

    model = sd.open(f"{web.url}/net.pt")
    assert web.asked() < 150_000
    found = sd.fingerprint(model)

    assert found.model == sd.fingerprint(sd.open(web.folder / "net.pt")).model
    assert len(web.requests) <= 4
    assert size * 0.9 < web.asked() < size * 1.1


def test_a_folder_is_listed_and_its_shards_opened(web: WebServer) -> None:
    values = weights(web.folder)
    sd.save(sd.open(web.folder / "net.safetensors"), web.folder / "model", max_shard_size=4 * MIB)

    model = sd.open(f"{web.url}/model/")

    assert sorted(name for name, _ in model.named_parameters()) == sorted(values)
    assert sd.fingerprint(model).model == sd.fingerprint(sd.open(web.folder / "model")).model


def test_an_index_needs_no_listing(web: WebServer) -> None:
    weights(web.folder)
    sd.save(sd.open(web.folder / "net.safetensors"), web.folder / "model", max_shard_size=4 * MIB)

    model = sd.open(f"{web.url}/model/model.safetensors.index.json")

    assert len(list(model.parameters())) == 6
    assert len(web.requests) == 1 + 3


def test_convert_streams(web: WebServer, tmp_path: Path) -> None:
    weights(web.folder)

    ran = run("convert", f"{web.url}/net.safetensors", str(tmp_path / "half.safetensors"), "--dtype", "bf16")

    assert ran.code == 0, ran.err
    expected = tmp_path / "local.safetensors"
    assert run("convert", str(web.folder / "net.safetensors"), str(expected), "--dtype", "bf16").code == 0
    assert (tmp_path / "half.safetensors").read_bytes() == expected.read_bytes()


def test_a_busy_server_is_asked_again(web: WebServer) -> None:
    weights(web.folder)
    web.busy = 3

    assert len(list(sd.open(f"{web.url}/net.safetensors").parameters())) == 6


def test_a_dropped_connection_is_tried_again(web: WebServer) -> None:
    weights(web.folder)
    model = sd.open(f"{web.url}/net.safetensors")
    web.dropped = 2

    assert sd.stats(model).total == sd.stats(sd.open(web.folder / "net.safetensors")).total


def test_a_connection_that_is_reset_in_the_midst_of_an_answer_is_tried_again(web: WebServer) -> None:
    weights(web.folder)
    expected = sd.stats(sd.open(web.folder / "net.safetensors")).total
    web.reset = 1
    model = sd.open(f"{web.url}/net.safetensors")
    assert web.reset == 0
    web.reset = 3
    assert sd.stats(model).total == expected
    assert web.reset == 0


def test_a_server_that_always_resets_is_given_up(web: WebServer) -> None:
    weights(web.folder)
    model = sd.open(f"{web.url}/net.safetensors")
    web.reset = 10_000

    ran = run("stats", f"{web.url}/net.safetensors")

    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "net.safetensors: cannot be read: " in ran.err
    with pytest.raises(ReadError, match="tried 6 times"):
        sd.stats(model)


def test_a_shard_that_vanishes_is_told(web: WebServer) -> None:
    weights(web.folder)
    sd.save(sd.open(web.folder / "net.safetensors"), web.folder / "model", max_shard_size=4 * MIB)
    url = f"{web.url}/model/model.safetensors.index.json"
    model = sd.open(url)
    shard = sorted((web.folder / "model").glob("model-*.safetensors"))[1]
    shard.unlink()

    with pytest.raises(ReadError, match=rf"{shard.name}: has been removed since it was opened"):
        sd.stats(model)
    ran = run("stats", url)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert shard.name in ran.err


def test_a_file_that_shrinks_between_header_and_values_is_told(web: WebServer) -> None:
    weights(web.folder)
    model = sd.open(f"{web.url}/net.safetensors")
    path = web.folder / "net.safetensors"
    os.truncate(path, path.stat().st_size // 2)

    with pytest.raises(ReadError, match="has been changed since it was opened; open it again"):
        sd.stats(model)


def test_patience_ends(web: WebServer) -> None:
    weights(web.folder)
    web.busy = 10_000

    with pytest.raises(ReadError, match=r"its server answers 503 \(tried 6 times\); try again later"):
        sd.open(f"{web.url}/net.safetensors")


def test_a_truncating_server_is_continued_where_it_ended(web: WebServer) -> None:
    weights(web.folder)
    web.cut = 700_001

    found = sd.fingerprint(sd.open(f"{web.url}/net.safetensors"))

    assert found.model == sd.fingerprint(sd.open(web.folder / "net.safetensors")).model
    starts = [start for _, start, _ in web.requests]
    assert len(starts) == len(set(starts)) > 10


@pytest.mark.parametrize("tags", [True, False])
def test_a_changed_file_is_an_error(web: WebServer, tags: bool) -> None:
    web.tags = tags
    weights(web.folder)
    model = sd.open(f"{web.url}/net.safetensors")
    path = web.folder / "net.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, (1e9, 1e9))

    with pytest.raises(ReadError, match=r"net\.safetensors: has been changed since it was opened; open it again"):
        sd.stats(model)


def test_a_removed_file_is_an_error(web: WebServer) -> None:
    weights(web.folder)
    model = sd.open(f"{web.url}/net.safetensors")
    (web.folder / "net.safetensors").unlink()

    with pytest.raises(ReadError, match="has been removed since it was opened"):
        sd.stats(model)


def test_a_server_without_ranges_is_told(web: WebServer) -> None:
    weights(web.folder)
    web.ranges = False

    ran = run("tree", f"{web.url}/net.safetensors")

    assert ran.code == 2
    assert "sends whole files only, no byte ranges; to fetch all of it once, open `simplecache::http" in ran.err


def test_a_server_without_ranges_is_read_once_where_asked(web: WebServer) -> None:
    weights(web.folder)
    web.ranges = False

    model = sd.open(f"simplecache::{web.url}/net.safetensors")

    assert sd.stats(model).total == sd.stats(sd.open(web.folder / "net.safetensors")).total
    assert len(web.requests) == 1


@pytest.mark.parametrize(("status", "said"), [(401, "refuses it"), (403, "refuses it"), (418, "answers 418")])
def test_refusals_are_told(web: WebServer, status: int, said: str) -> None:
    weights(web.folder)
    web.busy, web.status = 1, status

    with pytest.raises(ReadError, match=said):
        sd.open(f"{web.url}/net.safetensors")


def test_a_missing_file_is_told(web: WebServer) -> None:
    with pytest.raises(ReadError, match="cannot be opened: there is no such file"):
        sd.open(f"{web.url}/net.safetensors")


def test_what_is_no_checkpoint_is_told(web: WebServer) -> None:
    (web.folder / "page").write_text("<!DOCTYPE html><p>Log in")

    with pytest.raises(UnknownFormatError, match="a web page"):
        sd.open(f"{web.url}/page")


def test_an_empty_file_is_told(web: WebServer) -> None:
    (web.folder / "net.pt").write_bytes(b"")

    with pytest.raises(UnknownFormatError, match="is empty"):
        sd.open(f"{web.url}/net.pt")


def test_no_server_is_told() -> None:
    with pytest.raises(ReadError, match=r"127\.0\.0\.1:9/net\.pt: cannot be read: "):
        sd.open("http://127.0.0.1:9/net.pt")


def test_secrets_are_never_shown(web: WebServer) -> None:
    weights(web.folder)
    host = web.url.removeprefix("http://")
    url = f"http://anna:hunter2secret@{host}/net.safetensors?X-Amz-Signature=0123456789abcdef&token=tok3n"

    shown = [run("tree", url), run("ls", url, "--json"), run("check", url), run("show", url, "layers.0.weight")]
    web.ranges = False
    shown += [run("tree", url)]
    web.ranges, web.busy = True, 10_000
    shown += [run("stats", url)]
    web.busy, web.status = 10_000, 401
    shown += [run("stats", url)]

    text = "".join(each.out + each.err for each in shown)
    assert "net.safetensors" in text
    for secret in ("hunter2secret", "anna", "0123456789abcdef", "tok3n"):
        assert secret not in text


def test_a_password_is_sent(web: WebServer) -> None:
    weights(web.folder)
    web.password = "Basic YW5uYTpodW50ZXIy"

    url = f"http://anna:hunter2@{web.url.removeprefix('http://')}/net.safetensors"

    assert len(list(sd.open(url).parameters())) == 6


def test_a_huge_model_costs_its_headers(web: WebServer) -> None:
    sparse_model(web.folder / "huge", 16, 504, 8 * MIB)

    ran = run("tree", f"{web.url}/huge/")

    assert "63.0 GiB" in ran.out
    headers = 0
    for path in (web.folder / "huge").iterdir():
        with path.open("rb") as file:
            headers += int.from_bytes(file.read(8), "little")
    assert 16 <= len(web.requests) <= 33
    assert web.asked() < headers + 16 * (1 << 15)


@pytest.mark.parametrize(("error", "asked"), [(socket.EAI_NONAME, 1), (socket.EAI_AGAIN, 6)])
def test_a_host_that_does_not_exist_is_not_asked_for_again(
    error: int, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []

    def unknown(host: str, *_: object, **__: object) -> None:
        tried.append(host)
        raise socket.gaierror(error, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ReadError, match=r"nosuchhost\.invalid"):
        sd.open("https://nosuchhost.invalid/net.safetensors")
    assert len(tried) == asked
