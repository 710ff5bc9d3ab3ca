"""Which files a source holds; if these fail, events are counted twice or not at all, in silence."""

import gzip
import zipfile

import pytest
from samples import amazon_2023

from trsr.data.importing import import_dataset
from trsr.data.importing.source import Source
from trsr.errors import ConfigError, DataError


@pytest.fixture
def reviews(tmp_path):
    """A folder of Amazon Reviews with one file of reviews."""
    folder = tmp_path / "raw"
    for name, data in amazon_2023().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def reviews_of(folder):
    [path] = [path for path in folder.iterdir() if not path.name.startswith("meta_")]
    return path


def test_a_file_that_is_named_twice_is_read_once(reviews, tmp_path):
    path = reviews_of(reviews)
    (tmp_path / "link").symlink_to(reviews)
    more = [path, path, reviews / ".." / "raw" / path.name, tmp_path / "link"]
    assert import_dataset("auto", reviews, tmp_path / "made", more=more).events == 10


def test_a_file_beside_the_gz_it_came_out_of_is_refused(reviews, tmp_path):
    path = reviews_of(reviews)
    packed = path.with_name(f"{path.name.removesuffix('.gz')}.gz")
    plain = path.with_name(path.name.removesuffix(".gz"))
    data = gzip.decompress(path.read_bytes()) if path == packed else path.read_bytes()
    packed.write_bytes(gzip.compress(data))
    plain.write_bytes(data)
    with pytest.raises(DataError, match="one of them packed; leave one of them there"):
        import_dataset("auto", reviews, tmp_path / "made")
    assert not (tmp_path / "made").exists()


SHOP = {
    "products_train.csv": "id,locale,title,price,brand,color,size,model,material,author,desc\nA1,UK,Lamp,,,,,,,,\n",
    "sessions_train.csv": "prev_items,next_item,locale\n['A1' 'A1'],A1,UK\n",
}


@pytest.mark.parametrize("inside", ["", "X/"])
@pytest.mark.parametrize("unpacked", ["", "X"])
def test_a_file_beside_the_zip_it_came_out_of_is_refused(tmp_path, inside, unpacked):
    source = tmp_path / "raw"
    plain = source / unpacked / inside
    plain.mkdir(parents=True)
    with zipfile.ZipFile(source / "X.zip", "w") as archive:
        for name, text in SHOP.items():
            archive.writestr(inside + name, text)
            (plain / name).write_text(text)
    with pytest.raises(DataError, match=r"the same as .*X\.zip/.*, one of them packed; leave one of them there"):
        import_dataset("amazon-m2", source, tmp_path / "made")
    (source / "X.zip").unlink()
    assert import_dataset("amazon-m2", source, tmp_path / "made").events == 3


def test_files_of_one_name_in_two_archives_are_two_files(tmp_path):
    source = tmp_path / "raw"
    source.mkdir()
    for kind in ("one", "two"):
        with zipfile.ZipFile(source / f"{kind}.zip", "w") as archive:
            for name, text in SHOP.items():
                archive.writestr(name, text)
    assert import_dataset("amazon-m2", source, tmp_path / "made").events == 6


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_of_a_name_that_an_archive_has_twice_the_last_counts_as_when_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "source.zip", "w") as archive:
        archive.writestr("a.csv", "old")
        archive.writestr("a.csv", "new")
    [file] = Source(tmp_path / "source.zip").files
    assert file.head() == b"new"


@pytest.mark.parametrize("name", ["n" * 300, "loop"])
def test_a_path_that_leads_nowhere_is_one_sentence(reviews, tmp_path, name):
    (tmp_path / "loop").symlink_to("loop")
    odd = tmp_path / name
    with pytest.raises((ConfigError, DataError), match=name):
        import_dataset("auto", odd, tmp_path / "made")
    with pytest.raises(ConfigError, match=name):
        import_dataset("auto", reviews, odd)
    assert not (tmp_path / "made").exists()


def test_files_of_a_folder_that_a_link_names_are_there_once(reviews, tmp_path):
    whole = tmp_path / "whole"
    (whole / "v1").mkdir(parents=True)
    (whole / "v1" / "notes.txt").touch()
    (whole / ".git").mkdir()
    (whole / ".git" / "config").touch()
    for name, target in (
        ("books", reviews),
        ("again", reviews),
        ("up", whole),
        ("a", whole / "v1"),
        ("broken", "nowhere"),
    ):
        (whole / name).symlink_to(target)
    files = [file.name for file in Source(whole).files]
    assert sorted(files) == sorted(["v1/notes.txt", *(f"again/{path.name}" for path in reviews.iterdir())])
