"""Downloads; if these fail, gigabytes are fetched twice, or half a file or another one is taken for the data set."""

import gzip
import hashlib
import io
import random
import zipfile

import pytest
from file_server import serving_file

from trsr.data.importing import download
from trsr.data.importing.download import fetch
from trsr.errors import ConfigError, DataError

DATA = random.Random(7).randbytes(3_000_000)
HASH = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("TRSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "_FIRST_WAIT", 0.001)
    with serving_file(DATA) as running:
        yield running


def test_a_file_is_fetched_once_and_its_hash_is_told(server, capfd):
    path = fetch(server.url)
    assert path.name == "data.zip"
    assert path.read_bytes() == DATA
    assert fetch(server.url, HASH.upper()) == path
    assert server.asked == [None]
    lines = [line for line in capfd.readouterr().err.splitlines() if "SHA-256" in line]
    assert lines == [
        f"data.zip: 3,000,000 bytes, SHA-256 {HASH}",
        f"data.zip: from the cache, 3,000,000 bytes, SHA-256 {HASH}",
    ]


def test_a_download_that_breaks_off_goes_on_where_it_was(server):
    server.cuts = [1_000_000, 500_000]
    assert fetch(server.url).read_bytes() == DATA
    assert server.asked == [None, "bytes=1000000-", "bytes=1500000-"]


def test_the_next_call_goes_on_too(server):
    server.cuts = [1_000_000] + [0] * (download.ATTEMPTS - 1)
    with pytest.raises(DataError, match="1,000,000 bytes are kept, run again to go on"):
        fetch(server.url)
    server.asked.clear()
    assert fetch(server.url).read_bytes() == DATA
    assert server.asked == ["bytes=1000000-"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server):
    server.cuts = [1_000_000] + [0] * (download.ATTEMPTS - 1)
    with pytest.raises(DataError):
        fetch(server.url)
    server.data, server.tag = DATA[::-1], '"two"'
    assert fetch(server.url).read_bytes() == DATA[::-1]


@pytest.mark.parametrize("tag", ["", 'W/"weak"'])
def test_without_a_strong_tag_it_begins_anew(server, tag):
    server.tag, server.cuts = tag, [1_000_000]
    assert fetch(server.url).read_bytes() == DATA
    assert server.asked == [None, None]


def test_a_server_without_ranges_sends_all_again(server):
    server.ranges, server.cuts = False, [1_000_000]
    assert fetch(server.url).read_bytes() == DATA


def test_a_part_that_is_longer_than_the_file_is_thrown_away(server):
    server.cuts = [2_000_000] + [0] * (download.ATTEMPTS - 1)
    with pytest.raises(DataError):
        fetch(server.url)
    server.data = DATA[:1_000_000]
    assert fetch(server.url).read_bytes() == DATA[:1_000_000]


def test_another_file_than_wanted_is_refused_and_not_kept(server):
    with pytest.raises(DataError, match=f"its SHA-256 is {HASH}, wanted was {'0' * 64}"):
        fetch(server.url, "0" * 64)
    fetch(server.url, HASH)
    assert server.asked == [None, None]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_pass_is_tried_again(server, status):
    server.statuses = [status, status]
    assert fetch(server.url).read_bytes() == DATA


def test_a_file_that_is_not_there_is_named_at_once(server):
    server.statuses = [404]
    with pytest.raises(DataError, match=r"data\.zip: the server answered 404; check the address$"):
        fetch(server.url)
    assert len(server.asked) == 1


def test_a_server_that_is_not_there_is_named(server, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    with pytest.raises(DataError, match=r"the connection failed \(ConnectError\), 2 times; 0 bytes are kept"):
        fetch("http://127.0.0.1:9/data.zip")


@pytest.mark.parametrize("url", ["http://", "http://host.invalid", "http://host.invalid/", "http://[::1/x"])
def test_an_address_of_no_file_is_refused(server, url):
    with pytest.raises(ConfigError, match="not the address of a file"):
        fetch(url)


def test_a_password_in_the_address_is_refused_without_showing_it(server):
    with pytest.raises(ConfigError) as caught:
        fetch("http://me:sesame@host.invalid/data.zip")
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(("name", "kept"), [("lock", "lock"), ("n" * 300 + ".zip", "n" * 196 + ".zip")])
def test_any_name_of_a_file_can_be_fetched(server, name, kept):
    path = fetch(server.url.replace("data.zip", name))
    assert path.name == kept
    assert path.read_bytes() == DATA


def packed(kind):
    if kind == "gz":
        return gzip.compress(DATA)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.csv", DATA)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_an_archive_whose_length_is_not_told_is_taken_only_whole(server, kind):
    url = server.url.replace("zip", kind)
    server.data, server.lengths, server.cuts = packed(kind), False, [2_000_000, 2_999_999]
    assert fetch(url).read_bytes() == server.data
    assert server.asked == [None] * 3


def test_an_archive_that_always_comes_cut_is_never_kept(server):
    server.data, server.lengths, server.cuts = packed("zip"), False, [2_000_000] * download.ATTEMPTS
    with pytest.raises(DataError, match="does not tell the length of the archive, and it came cut or damaged, 5 times"):
        fetch(server.url)
    assert fetch(server.url).read_bytes() == server.data


def test_of_another_file_whose_length_is_not_told_it_is_said_that_a_cut_is_not_seen(server, capfd):
    server.lengths = False
    assert fetch(server.url.replace("zip", "csv"), HASH).read_bytes() == DATA
    assert "data.csv: the server does not tell its length, so a cut would not be seen" in capfd.readouterr().err
