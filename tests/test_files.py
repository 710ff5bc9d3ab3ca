"""Files appear whole or not at all; a disk that says no is one sentence."""

import errno
import os
from pathlib import Path

import pytest

from trsr.errors import ConfigError
from trsr.files import whole_file, whole_folder, write_text


class RustError(Exception):
    """Polars and safetensors raise types of their own that tell the system's error in words."""


FAILURES = [
    (OSError(errno.ENOSPC, "No space left on device"), ConfigError, "No space left on device"),
    (RustError("parquet: underlying IO error: whatever (os error 28)"), ConfigError, "No space left on device"),
    (RustError("Error while serializing: I/O error: x (os error 13)"), ConfigError, "Permission denied"),
    (RustError("a column is wrong"), RustError, "a column is wrong"),
    (OSError("no number"), OSError, "no number"),
    (ZeroDivisionError("a bug"), ZeroDivisionError, "a bug"),
    (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
]


def fail_in(block, failure):
    with block as work:
        (work / "file" if work.is_dir() else work).write_text("half", encoding="utf-8")
        raise failure


@pytest.fixture
def old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old", encoding="utf-8")
    return path


def test_a_file_takes_its_place_when_the_block_ends(old_file):
    with whole_file(old_file) as work:
        work.write_text("new", encoding="utf-8")
        assert old_file.read_text(encoding="utf-8") == "old"
        assert work.parent == old_file.parent  # on another disk the last step would be a copy
    assert old_file.read_text(encoding="utf-8") == "new"
    assert list(old_file.parent.iterdir()) == [old_file]


def test_folders_above_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "file", "ä")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == "ä".encode()


@pytest.mark.parametrize(("failure", "kind", "words"), FAILURES)
def test_a_failed_file_leaves_the_old_one_and_no_rest(old_file, failure, kind, words):
    with pytest.raises(kind, match=words) as error:
        fail_in(whole_file(old_file), failure)
    assert old_file.read_text(encoding="utf-8") == "old"
    assert list(old_file.parent.iterdir()) == [old_file]
    if kind is ConfigError:
        assert str(error.value) == f"{old_file}: cannot be written: {words}; choose another place or free some"
        assert error.value.__suppress_context__


@pytest.mark.parametrize(("failure", "kind", "words"), FAILURES)
@pytest.mark.parametrize("there", [True, False])
def test_a_failed_folder_leaves_the_old_one_and_no_rest(tmp_path, there, failure, kind, words):
    path = tmp_path / "folder"
    if there:
        write_text(path / "file", "old")
    with pytest.raises(kind, match=words):
        fail_in(whole_folder(path), failure)
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")] == (
        ["folder", "folder/file"] if there else []
    )
    assert not there or (path / "file").read_text(encoding="utf-8") == "old"


def test_a_folder_replaces_the_old_one_whole(tmp_path):
    write_text(tmp_path / "folder" / "gone", "old")
    with whole_folder(tmp_path / "folder") as work:
        (work / "file").write_text("new", encoding="utf-8")
    assert {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")} == {"folder", "folder/file"}


@pytest.mark.parametrize("write", [whole_file, whole_folder])
def test_a_place_below_a_file_is_named(old_file, write):
    path = old_file / "below"
    with pytest.raises(ConfigError, match=r"cannot be written: (Not a directory|File exists)") as error, write(path):
        pass
    assert str(error.value).startswith(f"{path}: ")
    assert old_file.read_text(encoding="utf-8") == "old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; see tests/cli/test_bad_input.py")
@pytest.mark.parametrize("write", [whole_file, whole_folder])
def test_a_folder_that_is_read_only_is_named(tmp_path, write):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(ConfigError, match="Permission denied"), write(tmp_path / "locked" / "new"):
        pass


def test_an_interrupt_between_the_renames_keeps_the_folder_that_was_there(tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "old").touch()
    rename = Path.rename

    def interrupted(path, target):
        if path.name.endswith(".partial"):
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "kept") as work:
        (work / "new").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "old").exists()


def test_a_link_to_a_folder_stays_a_link_to_the_new_one(tmp_path):
    (tmp_path / "real").mkdir()
    for name, target in (("link", "real"), ("ahead", "not there yet")):
        (tmp_path / name).symlink_to(target)
        with whole_folder(tmp_path / name) as work:
            (work / "new").touch()
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / target / "new").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"real", "link", "ahead", "not there yet"}
