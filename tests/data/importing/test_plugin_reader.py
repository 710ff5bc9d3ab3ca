"""A reader of another package, found by its entry point; the reader is the one that docs/how-to shows."""

import re
import sys
import tomllib
from importlib import invalidate_caches
from pathlib import Path

import pytest
from whole_imports import imported, quarantined, write

from trsr.data.importing import reader
from trsr.errors import ConfigError

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "write-a-reader.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a package with one module and entry points on the path, as pip does."""

    def put(module: str, code: str, points: dict[str, str]) -> None:
        site = tmp_path / "site"
        lines = "".join(f"{name} = {value}\n" for name, value in points.items())
        about = {
            f"{module}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n",
            f"{module}-1.0.dist-info/entry_points.txt": f"[{reader.GROUP}]\n{lines}",
        }
        write(site, {f"{module}.py": code, **about})
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, module, raising=False)
        invalidate_caches()
        reader.readers.cache_clear()

    yield put
    monkeypatch.undo()
    for module in ("basket_reader", "broken_reader"):
        sys.modules.pop(module, None)
    reader.readers.cache_clear()


def test_the_reader_of_the_page_reads_its_files(tmp_path, install):
    [code], [project] = blocks("python"), blocks("toml")
    points = tomllib.loads(project)["project"]["entry-points"][reader.GROUP]
    install("basket_reader", code, points)
    files = {
        "products.txt": "p1|Steel ruler|Tools\np2|Caliper|\n|Nameless|\n",
        "baskets.txt": "anna|1700000000|p1 p2\nben|1700000060|p2\ncleo|soon|p1\n",
    }
    items, events, report = imported("auto", write(tmp_path / "raw", files), tmp_path)
    assert report.format == "baskets"
    assert items.to_dicts() == [
        {"item_id": "p1", "title": "Steel ruler", "department": "Tools"},
        {"item_id": "p2", "title": "Caliper", "department": None},
    ]
    assert events.rows() == [("anna", "p1", 1700000000), ("anna", "p2", 1700000000), ("ben", "p2", 1700000060)]
    assert quarantined(tmp_path) == [
        ("baskets.txt", 3, "a time that is no number of seconds"),
        ("products.txt", 3, "no id of the product"),
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("broken_reader:READER", r"reader shop of broken_reader:READER: cannot be loaded"),
        ("broken_reader:WRONG", "is no Reader"),
        ("no_such_module:READER", "cannot be loaded"),
    ],
)
def test_a_plug_in_that_cannot_be_loaded_is_named(install, value, message):
    install("broken_reader", "WRONG = 1\n", {"shop": value})
    with pytest.raises(ConfigError, match=message):
        reader.readers()
