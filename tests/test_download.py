"""Download: what arrives, from servers that work and from those that fail."""

import hashlib
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from webserver import Site, serving

from leadline.core.errors import BadInput
from leadline.io.download import download

CONTENT = bytes(range(256)) * 4000
HASH = hashlib.sha256(CONTENT).hexdigest()[:8]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as site:
        site.files["/weights.pt"] = CONTENT
        yield site


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "weights.pt"


def fetch(site: Site, file: Path, path: str = "/weights.pt") -> None:
    download([site.address + path], file, HASH, patience=5.0)


def visible(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir() if not each.name.startswith("."))


def test_the_whole_file_arrives_under_its_name_and_nothing_beside_it(site: Site, file: Path):
    fetch(site, file)
    assert file.read_bytes() == CONTENT
    assert visible(file.parent) == ["weights.pt"]


def test_what_is_here_is_not_asked_for(site: Site, file: Path):
    fetch(site, file)
    fetch(site, file)
    assert len(site.asked) == 1


def test_a_redirection_is_followed(site: Site, file: Path):
    site.moved["/latest"] = "/weights.pt"
    site.breaks = [100_000]
    fetch(site, file, "/latest")
    assert file.read_bytes() == CONTENT
    assert site.asked[-1] == ("/weights.pt", "bytes=100000-")


def test_a_broken_connection_goes_on_where_it_broke(site: Site, file: Path):
    site.breaks = [100_000, 300_000]
    fetch(site, file)
    assert file.read_bytes() == CONTENT
    assert [wanted for _, wanted in site.asked] == [None, "bytes=100000-", "bytes=400000-"]


def test_a_server_that_falls_silent_counts_as_broken(site: Site, file: Path):
    site.breaks, site.hangs = [100_000], True
    download([f"{site.address}/weights.pt"], file, HASH, patience=0.3)
    assert file.read_bytes() == CONTENT
    assert site.asked[-1][1] == "bytes=100000-"


def test_a_server_that_always_breaks_is_given_up_and_the_next_download_goes_on(site: Site, file: Path):
    site.breaks = [100_000, 0]
    with pytest.raises(BadInput, match=r"weights\.pt from http.*the connection broke.*resumes where it stopped"):
        fetch(site, file)
    assert visible(file.parent) == ["weights.pt.part"]
    fetch(site, file)
    assert file.read_bytes() == CONTENT
    assert site.asked[-1][1] == "bytes=100000-"


def test_a_killed_download_leaves_no_lock_and_the_next_goes_on(site: Site, file: Path):
    site.breaks, site.hangs = [100_000], True
    killed = subprocess.Popen(command(site, file))
    try:
        assert site.sent.wait(60)
        wait_for_bytes(file.with_name("weights.pt.part"))
    finally:
        killed.kill()
        killed.wait()
    came = file.with_name("weights.pt.part").stat().st_size
    assert 0 < came <= 100_000
    fetch(site, file)
    assert file.read_bytes() == CONTENT
    assert site.asked[-1][1] == f"bytes={came}-"


def test_a_server_without_ranges_sends_the_whole_file_anew(site: Site, file: Path):
    site.breaks, site.knows_ranges = [100_000], False
    fetch(site, file)
    assert file.read_bytes() == CONTENT
    assert len(site.asked) == 2


def test_a_server_without_ranges_that_always_breaks_is_given_up(site: Site, file: Path):
    site.breaks, site.knows_ranges = [100_000] * 9, False
    with pytest.raises(BadInput, match="the connection broke"):
        fetch(site, file)
    assert len(site.asked) == 2


def test_a_download_killed_before_its_last_look_is_only_checked(site: Site, file: Path):
    file.parent.mkdir()
    file.with_name("weights.pt.part").write_bytes(CONTENT)
    fetch(site, file)
    assert file.read_bytes() == CONTENT
    assert [wanted for _, wanted in site.asked] == [f"bytes={len(CONTENT)}-"]


def test_wrong_bytes_are_named_and_removed(site: Site, file: Path):
    site.files["/weights.pt"] = CONTENT[:-1] + b"?"
    with pytest.raises(BadInput, match=rf"is not weights\.pt: its SHA-256 begins with \w{{8}}, not {HASH}.*removed"):
        fetch(site, file)
    assert visible(file.parent) == []


def test_a_wrong_beginning_is_removed_so_that_the_next_download_is_whole(site: Site, file: Path):
    file.parent.mkdir()
    file.with_name("weights.pt.part").write_bytes(b"of another file")
    with pytest.raises(BadInput, match="SHA-256"):
        fetch(site, file)
    fetch(site, file)
    assert file.read_bytes() == CONTENT


def test_no_server_is_named_with_the_place_for_the_file(file: Path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/weights.pt"
        with pytest.raises(BadInput, match=rf"from {address}: .*refused.*by other means as {file}"):
            download([address], file, HASH)


def test_a_file_that_is_not_there_is_asked_for_at_the_next_address(site: Site, file: Path):
    download([f"{site.address}/gone.pt", f"{site.address}/weights.pt"], file, HASH)
    assert file.read_bytes() == CONTENT


def test_a_file_that_is_nowhere_is_named(site: Site, file: Path):
    with pytest.raises(BadInput, match=r"gone\.pt: the server answers 404"):
        fetch(site, file, "/gone.pt")
    assert visible(file.parent) == []


def test_a_full_disk_leaves_nothing_under_the_name_and_the_next_download_goes_on(site: Site, file: Path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limit[1]))
    try:
        with pytest.raises(BadInput, match=r"Cannot write .*weights\.pt\.part: .*Free some space"):
            fetch(site, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not file.exists()
    came = file.with_name("weights.pt.part").stat().st_size
    fetch(site, file)
    assert file.read_bytes() == CONTENT
    assert site.asked[-1][1] == f"bytes={came}-"


def test_a_disk_without_room_for_all_is_told_at_once(site: Site, file: Path):
    site.claims = 10**18
    with pytest.raises(BadInput, match="No space left"):
        fetch(site, file)
    assert visible(file.parent) == []


def test_a_folder_that_cannot_be_made_is_named(site: Site, tmp_path: Path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(BadInput, match=r"Cannot create the folder .*cache"):
        fetch(site, tmp_path / "cache" / "weights.pt")


def test_of_two_at_once_one_asks_and_both_have_the_file(site: Site, file: Path):
    site.breaks, site.hangs = [100_000], True
    first = subprocess.Popen(command(site, file))
    assert site.sent.wait(60)
    with subprocess.Popen(command(site, file), stderr=subprocess.PIPE, text=True) as second:
        assert second.stderr
        assert second.stderr.readline() == "Another process is downloading weights.pt: waiting for it.\n"
        site.let_go.set()
    assert (first.wait(60), second.returncode) == (0, 0)
    assert file.read_bytes() == CONTENT
    assert [wanted for _, wanted in site.asked] == [None, "bytes=100000-"]


def test_the_environments_proxy_is_used(site: Site, file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", site.address)
    download(["http://releases.invalid/weights.pt"], file, HASH)
    assert site.asked == [("http://releases.invalid/weights.pt", None)]


def command(site: Site, file: Path) -> list[str]:
    """A process of its own that downloads."""
    address = f"{site.address}/weights.pt"
    program = f"download([{address!r}], Path({str(file)!r}), {HASH!r}, patience=60.0)"
    return [sys.executable, "-c", f"from pathlib import Path\nfrom leadline.io.download import download\n{program}"]


def wait_for_bytes(part: Path) -> None:
    end = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size):
        assert time.monotonic() < end
        time.sleep(0.01)
