"""Settings: what is saved is what is read, and a mistake is named by file and field."""

from datetime import UTC
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trsr import config as config_module
from trsr.config import (
    BackendConfig,
    BookshopConfig,
    CandidateConfig,
    CheckConfig,
    CleaningConfig,
    ColumnMap,
    DataConfig,
    EmbeddingConfig,
    EvaluationConfig,
    ExperimentConfig,
    FilterConfig,
    ImportConfig,
    PromptConfig,
    RankerConfig,
    Settings,
    SplitConfig,
    SummaryConfig,
    TableConfig,
    TablesConfig,
    TrainingConfig,
    dump_yaml,
    load_experiment,
    parse_settings,
)
from trsr.errors import ConfigError

positive, share = st.integers(1, 10**6), st.floats(0.01, 0.99)
# PyYAML does not read back the line end U+0085 that it writes
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x85"), min_size=1, max_size=12)
places = st.sampled_from(["data", "/tmp/a b", "ä/ö", "../up"])
paths = places.map(Path)
seeds = st.integers(0, 2**32 - 1)
rates = st.floats(1e-9, 10)

BOOKSHOP = st.builds(BookshopConfig, books=st.integers(60, 5000), readers=positive, seed=seeds)
BACKEND = st.builds(BackendConfig, kind=st.sampled_from(["local", "vllm"])) | st.builds(
    BackendConfig,
    kind=st.just("openai"),
    url=text,
    model=text,
    api_key_env=st.none() | text,
    concurrency=positive,
    timeout=rates,
    max_calls=st.none() | positive,
    max_tokens=st.none() | positive,
    answer_start=st.sampled_from(["auto", "continue", "tell"]),
    more=st.dictionaries(text, st.none() | text | st.integers() | st.booleans()),
)
SETTINGS = {
    BookshopConfig: BOOKSHOP,
    DataConfig: st.builds(
        DataConfig,
        path=paths,
        bookshop=st.none(),
        attributes=st.none() | st.lists(text, min_size=1, unique=True),
        min_rating=st.none() | st.floats(-5, 5),
        min_history=positive,
        max_history=st.none() | positive,
    )
    | st.builds(DataConfig, bookshop=BOOKSHOP, attributes=st.none()),
    SplitConfig: st.builds(
        SplitConfig,
        by=st.sampled_from(["auto", "time", "last", "users"]),
        valid=share,
        test=share,
        max_train=st.none() | positive,
    ),
    CandidateConfig: st.builds(
        CandidateConfig,
        source=st.sampled_from(["uniform", "popular", "retrieved", "impressions", "catalogue"]),
        train_source=st.none() | st.sampled_from(["uniform", "popular", "retrieved"]),
        retriever=st.sampled_from(["bm25", "embedding"]),
        negatives=positive,
        train_negatives=positive,
    ),
    PromptConfig: st.builds(
        PromptConfig, template=text, recent_items=st.integers(0, 50), show_ids=st.booleans(), item_tokens=st.just(8)
    ),
    BackendConfig: BACKEND,
    SummaryConfig: st.builds(
        SummaryConfig,
        backend=BACKEND,
        model=text,
        dtype=st.sampled_from(["auto", "bfloat16"]),
        form=st.sampled_from(["text", "structured"]),
        grounded=st.booleans(),
        repetition_penalty=st.floats(1, 5),
        store=st.none() | places | st.just("postgresql://reader@shop/summaries"),
    )
    | st.builds(SummaryConfig, segments=st.just("tokens"), block_tokens=st.integers(8, 10**6))
    | st.builds(SummaryConfig, segments=st.just("session"), session_hours=rates),
    RankerConfig: st.builds(RankerConfig, base=text, dtype=st.sampled_from(["auto", "float16"])),
    TrainingConfig: st.builds(
        TrainingConfig,
        learning_rate=rates,
        betas=st.tuples(share, share),
        warmup=share,
        loss=st.sampled_from(["answer", "binary", "listwise"]),
        lora_modules=st.none() | st.lists(text),
        seed=seeds,
    ),
    EmbeddingConfig: st.builds(
        EmbeddingConfig, model=st.none() | text, dtype=st.sampled_from(["auto", "float32"]), item_tokens=st.just(8)
    ),
    EvaluationConfig: st.builds(
        EvaluationConfig, ks=st.lists(positive, min_size=1), rare_below=st.integers(2, 50), seed=seeds
    ),
    CheckConfig: st.builds(CheckConfig, control_examples=st.integers(0, 10**6), control_negatives=positive),
}
COLUMNS = st.builds(
    ColumnMap, user=text, item=text, time=st.none() | text, attributes=st.none() | st.dictionaries(text, text)
)
TABLE = st.builds(TableConfig, file=text, separator=st.none() | st.sampled_from("\t,;|"), columns=COLUMNS)
SETTINGS |= {
    CleaningConfig: st.builds(CleaningConfig, markup=st.booleans(), lists=st.booleans(), long_field=positive),
    FilterConfig: st.builds(
        FilterConfig,
        min_rating=st.none() | st.floats(-5, 5),
        since=st.none() | st.datetimes(timezones=st.none() | st.just(UTC)),
        repeats=st.sampled_from(["keep", "first", "last"]),
        core=st.none() | positive,
        min_history=st.none() | positive,
    ),
    ColumnMap: COLUMNS,
    TableConfig: TABLE,
    TablesConfig: st.builds(TablesConfig, items=TABLE, interactions=TABLE),
}
SETTINGS[ImportConfig] = st.builds(
    ImportConfig,
    cleaning=SETTINGS[CleaningConfig],
    filters=SETTINGS[FilterConfig],
    max_bad=st.floats(0, 1),
    locale=st.none() | text,
    attributes=st.none() | st.lists(text, min_size=1),
    names=st.dictionaries(text, text),
    tables=st.none() | SETTINGS[TablesConfig],
)
SETTINGS[ExperimentConfig] = st.builds(
    ExperimentConfig,
    name=st.sampled_from(["a", "demo-2.x", "9_9"]),
    seed=seeds,
    methods=st.lists(st.sampled_from(["none", "hierarchical", "recurrent"]), unique=True),
    baselines=st.lists(st.sampled_from(["popularity", "bm25", "als"]), min_size=1, unique=True),
    embedding=SETTINGS[EmbeddingConfig],
    data=SETTINGS[DataConfig],
    split=SETTINGS[SplitConfig],
    prompt=SETTINGS[PromptConfig],
    summaries=SETTINGS[SummaryConfig],
    training=SETTINGS[TrainingConfig],
    evaluation=SETTINGS[EvaluationConfig],
    checks=SETTINGS[CheckConfig],
)


def test_every_settings_class_is_tried():
    classes = {kind for kind in vars(config_module).values() if isinstance(kind, type) and issubclass(kind, Settings)}
    assert classes - {Settings} == set(SETTINGS)


@pytest.mark.parametrize("kind", list(SETTINGS))
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_what_is_saved_is_what_is_read(kind, data):
    """A run folder's config.yaml gives the same experiment again."""
    wanted = data.draw(SETTINGS[kind])
    assert parse_settings(kind, yaml.safe_load(dump_yaml(wanted)), "here") == wanted


@pytest.mark.parametrize("kind", list(SETTINGS))
def test_a_misspelt_key_is_named_with_those_that_are_known(kind):
    with pytest.raises(ConfigError) as error:
        parse_settings(kind, {"name": "x", "data": {"path": "d"}, "mistake": 1}, "my.yaml")
    known = ", ".join(kind.model_fields)
    unknown = [line for line in [str(error.value)] if line.endswith(f"unknown setting; known here: {known}")]
    assert unknown == [str(error.value)] or "Field required" in str(error.value)
    assert str(error.value).startswith("my.yaml: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"seed": "many"}, "my.yaml: seed: Input should be a valid integer, unable to parse string as an integer"),
        ({"data": {"path": "d", "bookshop": {}}}, "my.yaml: data: give either path (a dataset folder) or bookshop"),
        (
            {"data": {"bookshop": {"min_events": 9, "max_events": 8}}},
            "bookshop: max_events 8 is below min_events 9",
        ),
        ({"data": {"bookshop": {"books": 50, "max_events": 26}}}, "max_events is above half the number of books"),
        ({"split": {"by": "coin"}}, "my.yaml: split.by: Input should be 'auto', 'time', 'last' or 'users'"),
        ({"methods": [], "baselines": []}, "my.yaml: methods and baselines are both empty; name at least one model"),
        ({"training": {"betas": [0.9]}}, "my.yaml: training.betas.1: Field required"),
        ({"training": {"learning_rate": float("nan")}}, "my.yaml: training.learning_rate: Input should be a finite"),
        ({"training": {"seed": 2**32}}, "my.yaml: training.seed: Input should be less than 4294967296"),
        ({"evaluation": {"ks": [3, 0]}}, "my.yaml: evaluation.ks.1: Input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_value_is_named_by_its_field(values, sentence):
    with pytest.raises(ConfigError) as error:
        parse_settings(ExperimentConfig, {"name": "x", "data": {"path": "d"}} | values, "my.yaml")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"kind": "openai", "model": "m"}, "kind openai needs the url of the server and the model that it serves"),
        ({"kind": "openai", "url": "http://shop.invalid"}, "kind openai needs the url of the server and the model"),
        ({"kind": "vllm", "url": "http://shop.invalid"}, "kind vllm has no url; leave it out, or set kind to openai"),
        ({"max_calls": 5}, "kind local has no max_calls; leave it out, or set kind to openai"),
    ],
)
def test_a_backend_is_whole_and_has_nothing_that_it_does_not_use(values, sentence):
    with pytest.raises(ConfigError, match=f"^my.yaml: {sentence}"):
        parse_settings(BackendConfig, values, "my.yaml")


def test_a_relative_data_path_is_taken_from_the_folder_of_the_file(tmp_path, monkeypatch):
    """A config and its data can be moved together, and the command can be run from anywhere."""
    (tmp_path / "lab").mkdir()
    monkeypatch.chdir(tmp_path)
    file = Path("lab/config.yaml")
    file.write_text("name: x\ndata: {path: ../shop}\n", encoding="utf-8")
    loaded = load_experiment(file)
    assert loaded.data.path == tmp_path / "shop"
    (tmp_path / "saved.yaml").write_text(dump_yaml(loaded), encoding="utf-8")
    assert load_experiment(tmp_path / "saved.yaml") == loaded
    file.write_text("name: x\ndata: {path: /shop}\n", encoding="utf-8")
    assert load_experiment(file).data.path == Path("/shop")


def test_settings_cannot_be_changed_once_made():
    with pytest.raises(ValueError, match="frozen"):
        CandidateConfig().negatives = 3  # type: ignore[misc]
