"""Downloads from a server on this machine that can break off, refuse or serve something else."""

import hashlib
import http.server
import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

import swinkit
from swinkit.spec import Preprocess
from swinkit.weights import catalog, download, fetch
from swinkit.weights.catalog import CATALOG, DEFAULT_TAGS, Entry, Source

CONTENT = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """Serves CONTENT; the first `breaks` answers stop halfway."""

    breaks: int = 0
    resumes: bool = True
    status: int = 0
    url: str = ""
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.ranges.append(wanted)
            if state.status:
                return self.send_error(state.status)
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and state.resumes else 0
            if start >= len(CONTENT):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
                return self.end_headers()
            body = CONTENT[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if state.breaks:
                state.breaks -= 1
                body = body[: len(body) // 2]
            self.wfile.write(body)
            return None

        def log_message(self, format: str, *args: object) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{httpd.server_address[1]}/weights.pth"
    yield state
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def _source(url: str, sha256: str | None = None) -> Source:
    return Source(format="official", url=url, files=("weights.pth",), sha256=sha256)


@pytest.fixture
def entry(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Entry:
    """A catalog entry at that server, and the cache in the test's folder."""
    made = Entry(
        name="test_model",
        variant="swin_tiny_patch4_window7_224",
        preprocess=Preprocess(),
        sources=(_source(server.url),),
    )
    monkeypatch.setitem(CATALOG, "test_model", made)
    monkeypatch.setenv("SWINKIT_CACHE", str(tmp_path / "cache"))
    return made


def test_a_broken_connection_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.breaks = 2
    path = download.download(server.url, tmp_path / "weights.pth", _source(server.url, DIGEST[:8]))
    assert path.read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert server.ranges == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]
    assert [item.name for item in tmp_path.iterdir()] == ["weights.pth"]


def test_the_part_of_an_earlier_call_is_used(server: Server, tmp_path: Path) -> None:
    server.breaks = 9
    with pytest.raises(ConnectionError, match="broke off after"):
        download.download(server.url, tmp_path / "weights.pth")
    assert not (tmp_path / "weights.pth").exists()
    have = (tmp_path / "weights.pth.part").stat().st_size
    server.breaks, server.ranges = 0, []
    assert download.download(server.url, tmp_path / "weights.pth").read_bytes() == CONTENT
    assert server.ranges == [f"bytes={have}-"]


def test_a_server_that_cannot_resume_starts_over(server: Server, tmp_path: Path) -> None:
    server.breaks, server.resumes = 1, False
    assert download.download(server.url, tmp_path / "weights.pth").read_bytes() == CONTENT


def test_a_complete_part_needs_no_more(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(CONTENT)
    assert download.download(server.url, tmp_path / "weights.pth").read_bytes() == CONTENT
    assert len(server.ranges) == 1


def test_a_part_longer_than_the_file_starts_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(CONTENT + b"x")
    assert download.download(server.url, tmp_path / "weights.pth").read_bytes() == CONTENT


def test_another_file_than_published_is_removed(server: Server, tmp_path: Path) -> None:
    with pytest.raises(swinkit.InputError, match=f"expected SHA-256 00000000..., got {DIGEST[:8]}"):
        download.download(server.url, tmp_path / "weights.pth", _source(server.url, "00000000"))
    assert list(tmp_path.iterdir()) == []


def test_files_by_file_address(tmp_path: Path) -> None:
    (tmp_path / "there.pth").write_bytes(CONTENT)
    path = download.download((tmp_path / "there.pth").as_uri(), tmp_path / "here.pth")
    assert path.read_bytes() == CONTENT


def test_fetch_downloads_once_and_notices_a_change(server: Server, entry: Entry) -> None:
    path = fetch(entry.name)
    assert path == fetch(entry.name)
    assert len(server.ranges) == 1
    assert path.with_name("weights.pth.sha256").read_text().strip() == DIGEST
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(swinkit.InputError, match="is not the published file"):
        fetch(entry.name)
    assert fetch(entry.name).read_bytes() == CONTENT


def test_a_file_put_into_the_cache_by_hand_is_used(server: Server, entry: Entry, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "weights.pth").write_bytes(b"anything")
    assert fetch(entry.name) == tmp_path / "cache" / "weights.pth"
    assert server.ranges == []


def test_offline_is_one_clear_sentence(entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offline = Entry(
        name=entry.name,
        variant=entry.variant,
        preprocess=entry.preprocess,
        sources=(_source("http://127.0.0.1:9/weights.pth"),),
    )
    monkeypatch.setitem(CATALOG, entry.name, offline)
    with pytest.raises(swinkit.InputError) as caught:
        fetch(entry.name)
    message = str(caught.value)
    assert "could not download test_model" in message
    assert f"put the file at {tmp_path / 'cache' / 'weights.pth'}" in message
    assert "\n" not in message


def test_no_network_is_noticed_before_the_hub_is_asked(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_address(*args: object) -> None:
        raise socket.gaierror("no such host")

    def asked(*args: object, **kwargs: object) -> str:
        assert logging.getLogger("huggingface_hub.utils").getEffectiveLevel() == logging.ERROR
        raise LocalEntryNotFoundError("asked the hub")

    on_hub = Source(format="timm", repo="some/model", files=("model.safetensors",))
    monkeypatch.setitem(CATALOG, entry.name, replace(entry, sources=(on_hub,)))
    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    monkeypatch.setattr(download, "hf_hub_download", asked)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with pytest.raises(download.DownloadError, match="this machine seems to be offline"):
        fetch(entry.name)
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://proxy:1"})
    with pytest.raises(download.DownloadError, match="the hub cannot be reached"):
        fetch(entry.name)


def test_an_error_of_the_server_is_named_and_the_next_source_tried(
    server: Server, entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.status = 404
    with pytest.raises(swinkit.InputError, match="the server answered 404"):
        fetch(entry.name)
    (tmp_path / "copy.pth").write_bytes(CONTENT)
    both = Entry(
        name=entry.name,
        variant=entry.variant,
        preprocess=entry.preprocess,
        sources=(_source(server.url), _source((tmp_path / "copy.pth").as_uri())),
    )
    monkeypatch.setitem(CATALOG, entry.name, both)
    assert fetch(entry.name).read_bytes() == CONTENT


def test_every_official_release_file_is_in_the_catalog() -> None:
    files = {source.files[0] for entry in CATALOG.values() for source in entry.sources if not source.repo}
    sizes = ("tiny", "small", "base", "large")
    expected = {f"swin_{size}_patch4_window7_224_22k.pth" for size in sizes}
    expected |= {f"swin_{size}_patch4_window7_224.pth" for size in sizes[:3]}
    expected |= {f"swin_{size}_patch4_window7_224_22kto1k_finetune.pth" for size in sizes[:2]}
    expected |= {f"swin_{size}_patch4_window7_224_22kto1k.pth" for size in sizes[2:]}
    for size in sizes[2:]:
        expected |= {f"swin_{size}_patch4_window12_384_{kind}.pth" for kind in ("22k", "22kto1k")}
    expected |= {f"swin_mlp_tiny_{heads}_patch4_window8_256.pth" for heads in ("c24", "c12", "c6")}
    expected |= {
        "swin_base_patch4_window12_384.pth",
        "swin_mlp_base_patch4_window7_224.pth",
        "swin_tiny_c24_patch4_window8_256.pth",
        "swin_t-704ceda3.pth",
        "swin_s-5e29d889.pth",
        "swin_b-68c6b09e.pth",
    }
    assert expected <= files


def test_names_resolve() -> None:
    assert catalog.get("swin_tiny_patch4_window7_224").name == "swin_tiny_patch4_window7_224.ms_in1k"
    assert catalog.get("swin_t-704ceda3.pth").name == "swin_tiny_patch4_window7_224.tv_in1k"
    assert all(f"{name}.{tag}" in CATALOG for name, tag in DEFAULT_TAGS.items())
    with pytest.raises(swinkit.InputError, match="did you mean swin_base_patch4_window7_224"):
        catalog.get("swin_base_patch4_window7_225")


def test_names_and_default_tags_are_those_of_timm() -> None:
    timm = pytest.importorskip("timm", reason="timm is an optional dependency")
    for bare, tag in DEFAULT_TAGS.items():
        assert timm.models.get_pretrained_cfg(bare).tag == tag
    for name, entry in CATALOG.items():
        bare, _, tag = name.partition(".")
        if tag.startswith("ms_"):
            config = timm.models.get_pretrained_cfg(name)
            assert config.num_classes == entry.num_classes, name
            assert config.input_size[1:] == entry.preprocess.size
            assert config.url in [source.url for source in entry.sources], name
