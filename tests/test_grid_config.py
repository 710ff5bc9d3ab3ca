"""Grid files: which experiments one means, what they are called, and mistakes named by file, cell and key."""

from pathlib import Path

import pytest
import yaml

from trsr.config import grid as grid_module
from trsr.config import is_grid, load_experiment, load_grid, read_yaml
from trsr.errors import ConfigError

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
BASE = {"name": "films", "methods": ["none"], "data": {"path": "data"}, "prompt": {"template": "films"}}


def write(folder: Path, values: dict, base: dict | None = None) -> Path:
    (folder / "films.yaml").write_text(yaml.safe_dump(BASE if base is None else base), encoding="utf-8")
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({"name": "ablation", "base": "films.yaml"} | values, sort_keys=False), "utf-8")
    return path


def names(path: Path) -> list[str]:
    return [cell.name for cell in load_grid(path).cells]


def test_every_combination_is_a_cell_with_the_settings_of_the_base_but_for_its_own(tmp_path):
    keys = {"prompt.recent_items": [0, 3, 10], "training.loss": ["listwise", "answer"]}
    grid = load_grid(write(tmp_path, {"grid": keys}))
    assert [cell.name for cell in grid.cells] == [
        f"recent_items-{count}--loss-{loss}" for count in (0, 3, 10) for loss in ("listwise", "answer")
    ]
    assert grid.varied == list(keys)
    base = load_experiment(tmp_path / "films.yaml")
    for cell in grid.cells:
        assert cell.config.name == f"ablation.{cell.name}"
        assert cell.config.prompt.recent_items == cell.overrides["prompt.recent_items"]
        assert cell.config.training.loss == cell.overrides["training.loss"]
        prompt = cell.config.prompt.model_copy(update={"recent_items": base.prompt.recent_items})
        training = cell.config.training.model_copy(update={"loss": base.training.loss})
        back = cell.config.model_copy(update={"name": "films", "prompt": prompt, "training": training})
        assert back == base


def test_named_cells_stand_beside_the_base_and_combinations(tmp_path):
    cells = {"negatives": {"candidates.train_negatives": 20}, "big": {"ranker.base": "a/b", "training.epochs": 2}}
    grid = load_grid(write(tmp_path, {"cells": cells}))
    assert [(cell.name, cell.overrides) for cell in grid.cells] == [("base", {}), *cells.items()]
    assert grid.cells[0].config.model_copy(update={"name": "films"}) == load_experiment(tmp_path / "films.yaml")
    assert (grid.cells[2].config.ranker.base, grid.cells[2].config.training.epochs) == ("a/b", 2)
    both = write(tmp_path, {"cells": cells, "grid": {"training.epochs": [1, 3]}})
    assert names(both) == ["base", "epochs-1", "epochs-3", "negatives", "big"]
    # 5 epochs are the base's, which is not run twice
    assert names(write(tmp_path, {"cells": cells, "grid": {"training.epochs": [5, 3]}})) == [
        "epochs-5",
        "epochs-3",
        "negatives",
        "big",
    ]


def test_seeds_run_every_cell_anew_and_keep_it_in_one_group(tmp_path):
    grid = load_grid(write(tmp_path, {"grid": {"training.epochs": [1, 2]}, "seeds": [7, 8]}))
    assert [(cell.group, cell.seed) for cell in grid.cells] == [(f"epochs-{n}", s) for n in (1, 2) for s in (7, 8)]
    assert all((cell.config.seed, cell.config.training.seed) == (cell.seed, cell.seed) for cell in grid.cells)
    assert grid.cells[1].name == "epochs-1--seed-8"
    assert grid.cells[1].overrides == {"training.epochs": 1}
    assert names(write(tmp_path, {"seeds": [1, 2]})) == ["base--seed-1", "base--seed-2"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"methods": [["none"], ["none", "extractive"], []]},
            ["methods-none", "methods-none-extractive", "methods-empty"],
        ),
        ({"ranker.base": ["org/Model-1B", "/models/other/"]}, ["base-Model-1B", "base-other"]),
        ({"prompt.item_tokens": [8], "summaries.item_tokens": [9]}, ["prompt.item_tokens-8--summaries.item_tokens-9"]),
        ({"data.min_rating": [None, 3.5]}, ["min_rating-none", "min_rating-3.5"]),
        ({"training.learning_rate": [1e-4, "1e-3"]}, ["learning_rate-0.0001", "learning_rate-1e-3"]),
        ({"training.lora_modules": [["q proj", "../x"]]}, ["lora_modules-q-proj-x"]),
    ],
)
def test_values_of_all_kinds_make_plain_folder_names(tmp_path, keys, expected):
    assert names(write(tmp_path, {"grid": keys})) == expected


def test_what_all_combinations_share_is_no_part_of_their_names(tmp_path):
    path = write(tmp_path, {"grid": {"methods": [["none", "extractive"]], "training.epochs": [1, 2]}})
    assert names(path) == ["epochs-1", "epochs-2"]
    assert "extractive" in load_grid(path).cells[0].config.methods


def test_a_data_path_of_the_base_is_from_its_folder_and_one_of_the_grid_from_the_grids(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "films.yaml").write_text(yaml.safe_dump(BASE), encoding="utf-8")
    path = write(tmp_path, {"base": "sub/films.yaml", "cells": {"other": {"data.path": "other"}}})
    base, other = load_grid(path).cells
    assert base.config.data.path == tmp_path / "sub" / "data"
    assert other.config.data.path == tmp_path / "other"


def test_settings_may_stand_in_the_grid_itself_and_optional_sections_be_opened(tmp_path):
    path = tmp_path / "grid.yaml"
    values = {"name": "g", "experiment": {"data": {"bookshop": {}}, "methods": []}}
    values["cells"] = {"more": {"data.bookshop.readers": 50}, "few": {"data.bookshop.readers": 20}}
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    grid = load_grid(path)
    assert grid.base is None
    assert [cell.config.data.bookshop.readers for cell in grid.cells] == [300, 50, 20]


def test_a_cell_may_leave_out_a_section_for_another(tmp_path):
    base = {"name": "films", "data": {"bookshop": {}}, "methods": []}
    cell = {"data.bookshop": None, "data.path": "shop"}
    shop, other = load_grid(write(tmp_path, {"cells": {"other": cell}}, base)).cells
    assert shop.config.data.bookshop is not None
    assert (other.config.data.bookshop, other.config.data.path) == (None, tmp_path / "shop")


def test_a_cell_with_summaries_gets_the_ranker_that_reads_recent_items_in_their_place(tmp_path):
    control = [grid_module.CONTROL]
    wanted = [["none"], ["none", "extractive"], ["recurrent"]]
    grid = load_grid(write(tmp_path, {"grid": {"methods": wanted}}))
    assert [cell.config.methods for cell in grid.cells] == [wanted[0], wanted[1] + control, wanted[2] + control]
    assert list(grid.controlled) == [cell.name for cell in grid.cells[1:] if control]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"grid": {"prompt.recnt": [1]}},
            "grid: prompt.recnt: unknown setting; known under prompt: template, ",
        ),
        (
            {"cells": {"a": {"promt.recent_items": 1}}},
            "cells.a: promt.recent_items: unknown setting; known: name, ",
        ),
        ({"cells": {"a": {"prompt": {"recent_items": 1}}}}, "cells.a: prompt: a section of settings; name one in it"),
        ({"cells": {"a": {"prompt": None}}}, "cells.a: prompt: a section of settings; name one in it"),
        (
            {"cells": {"a": {"data.bookshop.readers": 5, "data.bookshop": None, "data.path": "shop"}}},
            "cells.a: data.bookshop and data.bookshop.readers are both set; take one of them",
        ),
        ({"cells": {"a": {"training.loss.x": 1}}}, "cells.a: training.loss.x: loss has no settings inside"),
        ({"cells": {"a": {"name": "b"}}}, "cells.a: name: a cell is named by the grid"),
        (
            {"grid": {"training.loss": ["listwise", "magic"]}},
            "cell loss-magic: training.loss: Input should be ",
        ),
        ({"cells": {"a": {"prompt.recent_items": -1}}}, "cell a: prompt.recent_items: Input should be greater than"),
        ({"grid": {"training.loss": []}}, "grid.training.loss: List should have at least 1 item"),
        ({"grid": {"training.loss": "answer"}}, "grid.training.loss: Input should be a valid list"),
        ({}, "nothing is varied; give grid, cells or seeds"),
        ({"seeds": [1, 1]}, "seeds names one twice"),
        ({"seeds": [1], "cells": {"a": {"training.seed": 2}}}, "cells.a: training.seed: the grid names seeds"),
        ({"experiment": {"data": {"path": "x"}}, "seeds": [1]}, "give either base (the file of an experiment) or"),
        (
            {"sedes": [1], "seeds": [1]},
            "sedes: unknown setting; known here: name, base, experiment, ",
        ),
        ({"cells": {"../up": {"training.epochs": 1}}}, "cells.../up.[key]: String should match pattern"),
        ({"cells": {"grid.json": {"training.epochs": 1}}}, "cells.grid.json: a file of the grid has this name"),
        ({"grid": {"training.epochs": [1, 1]}}, "two cells would be called epochs-1; name them under cells"),
        ({"grid": {"ranker.base": ["a/m", "b/M"]}}, "two cells would be called base-M; name them under cells"),
        (
            {"cells": {"a": {"training.epochs": 1}, "b": {"training.epochs": 1}}},
            "cells a and b have the same settings; leave one of them out",
        ),
        ({"cells": {"a": {"mixes.foo.bar": ["popularity"]}}}, "cells.a: mixes.foo.bar: foo has no settings inside; "),
        (
            {"cells": {"a": {"methods": ["recurrent"]}, "b": {"methods": ["recurrent", "recent"]}}},
            "cells a and b have the same settings; leave one of them out",
        ),
        (
            {"cells": {"a": {"methods": ["recurrent"], "mixes.trsr-recent": ["popularity", "trsr-recurrent"]}}},
            "cell a: mixes.trsr-recent: a model has this name; give the mix another",
        ),
        ({"cells": {"a": {"training.epochs": 5}, "base": {}}}, "cells a and base have the same settings"),
        ({"grid": {"ranker.base": ["m" * 130]}}, "grid: a combination would be called base-mmm"),
    ],
)
def test_a_mistake_is_named_by_file_place_and_key(tmp_path, values, sentence):
    path = write(tmp_path, values)
    with pytest.raises(ConfigError) as error:
        load_grid(path)
    assert str(error.value).startswith(f"{path}: {sentence}")
    assert "\n" not in str(error.value)


def test_a_base_that_is_missing_wrong_or_a_grid_is_named_by_its_own_file(tmp_path):
    path = write(tmp_path, {"seeds": [1]}, base=BASE | {"sed": 1})
    with pytest.raises(ConfigError, match=rf"^{tmp_path / 'films.yaml'}: sed: unknown setting"):
        load_grid(path)
    path = write(tmp_path, {"seeds": [1]}, base={"name": "g", "base": "x.yaml", "seeds": [1]})
    with pytest.raises(ConfigError, match=r"grid.yaml: base: .*films.yaml is a grid itself"):
        load_grid(path)
    (tmp_path / "films.yaml").unlink()
    with pytest.raises(ConfigError, match=r"films.yaml: no such file"):
        load_grid(path)


def test_a_grid_is_told_from_an_experiment(tmp_path):
    path = write(tmp_path, {"seeds": [1]})
    assert is_grid(read_yaml(path))
    assert not is_grid(read_yaml(tmp_path / "films.yaml"))
    assert not is_grid(None)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "experiments").glob("*.yaml")), ids=lambda p: p.name
)
def test_every_file_in_experiments_can_be_read(path):
    if is_grid(read_yaml(path)):
        assert len(load_grid(path).cells) > 1
    else:
        load_experiment(path)
