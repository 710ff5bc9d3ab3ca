"""Each baseline computes what its name says: compared with the slow obvious way on numbers small enough to check."""

import numpy as np
import polars as pl
import pytest
import torch

from baselines.small_world import make_encoder, world_config
from trsr.baselines import registry
from trsr.baselines.bm25 import Bm25Settings, fit_bm25
from trsr.baselines.embedding import EmbeddingSettings, fit_embedding
from trsr.baselines.factors import AlsSettings, BprSettings, fit_als, fit_bpr
from trsr.baselines.fitting import FitData, Validation, mark_unknown
from trsr.baselines.gru4rec import Gru4Rec
from trsr.baselines.item_knn import KnnSettings, fit_item_knn
from trsr.baselines.popularity import RecentSettings, recent_popularity
from trsr.baselines.sasrec import SasRec
from trsr.baselines.sequences import _SPECIAL, START, WINDOW, _windows
from trsr.baselines.value import mean_recall
from trsr.config import EmbeddingConfig
from trsr.data.dataset import Dataset
from trsr.data.scoring import RankingRequest
from trsr.errors import ConfigError, ModelError
from trsr.experiment.run import run_experiment
from trsr.llm import encoders
from trsr.llm.weights import load_model, load_tokenizer, resolve_weights

EVENTS = {"a": "pqrs", "b": "pqr", "c": "qps", "d": "tuv", "e": "tu", "f": "pt"}
TITLES = {item: f"{item}{item} title" for item in "pqrstuvw"}


def fit_data(events=EVENTS, timed=True, embedding=None, titles=TITLES):
    rows = [(user, item, place) for user, items in events.items() for place, item in enumerate(items)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp" if timed else "position"], orient="row")
    items = pl.DataFrame({"item_id": list(titles), "title": list(titles.values())})
    dataset = Dataset.from_frames(items, frame)
    return FitData(dataset, dataset.interactions, Validation([], []), "generic", embedding or EmbeddingConfig())


def ask(candidates, history="", user="x"):
    return RankingRequest("x@1", user, tuple(history), tuple(candidates))


def scores(scorer, *requests):
    return [values.tolist() for values in scorer.score(requests)]


def test_recent_popularity_halves_an_event_with_every_half_life():
    data = fit_data({"a": "pq", "b": "r"})  # times 0, 1, 0; after them 1/3, 0, 1/3 of the events
    [values] = scores(recent_popularity(data, RecentSettings(1 / 3), 0), ask("pqrs"))
    assert values == pytest.approx([0.5, 1, 0.5, 0])


def test_recent_popularity_without_time_takes_the_place_in_the_own_history():
    data = fit_data({"a": "pqrs", "b": "p"}, timed=False)
    [values] = scores(recent_popularity(data, RecentSettings(0.25), 0), ask("pqrst"))
    assert values == pytest.approx([2**-3 + 1, 2**-2, 2**-1, 1, 0])


@pytest.mark.parametrize(("neighbours", "shrink", "decay"), [(8, 0.0, 1.0), (8, 3.0, 0.5), (2, 1.0, 0.9)])
def test_item_knn_is_a_decayed_sum_of_shrunk_cosines(neighbours, shrink, decay):
    data = fit_data()
    matrix = np.array([[item in items for item in "pqrstuv"] for items in EVENTS.values()], dtype=float)
    norms = np.sqrt(matrix.sum(axis=0))
    cosine = matrix.T @ matrix / (np.outer(norms, norms) + shrink)
    np.fill_diagonal(cosine, 0)
    for row in cosine:
        row[np.argsort(-row, kind="stable")[neighbours:]] = 0
    history = "qp"
    wanted = sum(cosine[:, "pqrstuv".index(item)] * decay ** (1 - age) for age, item in enumerate(history))
    [found] = scores(fit_item_knn(data, KnnSettings(neighbours, shrink, decay), 0), ask("pqrstuv", history))
    assert found == pytest.approx(wanted.tolist(), abs=1e-6)


def test_bm25_is_that_of_the_formula():
    texts = ["red red rose", "blue rose", "blue sea and sky", "green tea"]
    titles = dict(zip("pqrs", texts, strict=True))
    data = fit_data({"a": "pqrs"}, titles=titles)
    [found] = scores(fit_bm25(data, Bm25Settings(1, 1.2, 0.75), 0), ask("pqrs", "sp"))
    documents = [["title", *(word for word in text.split() if word != "and")] for text in texts]
    mean = sum(map(len, documents)) / 4

    def value(words):
        total = 0
        for term in documents[0]:
            having = sum(term in other for other in documents)
            idf = np.log(1 + (4 - having + 0.5) / (having + 0.5))
            count = words.count(term)
            total += idf * count / (count + 1.2 * (1 - 0.75 + 0.75 * len(words) / mean))
        return total

    assert found == pytest.approx([value(words) for words in documents], rel=1e-4)


def test_als_folds_a_history_in_as_least_squares():
    data = fit_data()
    scorer = fit_als(data, AlsSettings(3, 0.5, 4.0), 1)
    items = scorer.model.item_factors.astype(float)
    confidence = np.ones(7)
    confidence[data.fitted.codes("pq")] = 4
    wanted = np.array([item in "pq" for item in "pqrstuv"], dtype=float)
    left = items.T @ (confidence[:, None] * items) + 0.5 * np.eye(3)
    user = np.linalg.solve(left, items.T @ (confidence * wanted))
    [found] = scores(scorer, ask("pqrstuv", "pqp"))
    assert found == pytest.approx((items @ user).tolist(), abs=1e-4)


def test_bpr_uses_the_factors_of_who_was_fitted_and_folds_in_who_was_not():
    groups = {f"u{user}": ("pqr", "tuv")[user % 2] for user in range(30)}
    scorer = fit_bpr(fit_data(groups), BprSettings(8, 0.1, 0.01), 1)
    known, same, other, again = scores(
        scorer, ask("pqrtuv", "pq", "u0"), ask("pqrtuv", "pq"), ask("pqrtuv", "tu"), ask("pqrtuv", "pq", "y")
    )
    assert min(known[:3]) > max(known[3:])
    assert min(same[:3]) > max(same[3:])
    assert min(other[3:]) > max(other[:3])
    assert same == again != known


@pytest.mark.parametrize("centred", [False, True])
def test_embedding_is_the_cosine_with_a_decayed_mean_of_pooled_hidden_states(tmp_path, centred):
    folder = make_encoder(tmp_path / "encoder")
    data = fit_data(embedding=EmbeddingConfig(model=str(folder), dtype="float32", item_tokens=8))
    [found] = scores(fit_embedding(data, EmbeddingSettings(2, 0.5, centred), 0), ask("ws", "pqr"))
    weights = resolve_weights(str(folder))
    model, tokenizer = load_model(weights, "float32"), load_tokenizer(weights)
    pooled = []
    for text in data.texts:
        ids = torch.tensor([tokenizer(text)["input_ids"][:8]])
        with torch.no_grad():
            pooled.append(model(ids, output_hidden_states=True).hidden_states[-1][0].mean(dim=0).numpy())

    def unit(vectors):
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    vectors = unit(np.array(pooled))
    vectors = unit(vectors - vectors.mean(axis=0)) if centred else vectors
    place = {item: row for row, item in enumerate(data.catalogue.items)}
    taste = unit(0.5 * vectors[place["q"]] + vectors[place["r"]])
    assert found == pytest.approx([float(vectors[place[item]] @ taste) for item in "ws"], abs=1e-4)


def test_a_sentence_encoder_folder_is_read_by_its_own_library(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    make_encoder(tmp_path / "base")
    words = Transformer(str(tmp_path / "base"))
    words.tokenizer.pad_token = words.tokenizer.eos_token
    model = SentenceTransformer(modules=[words, Pooling(32, "max")], device="cpu")
    model.save(str(tmp_path / "encoder"), create_model_card=False)
    weights = resolve_weights(str(tmp_path / "encoder"))
    texts = ["red rose", "blue sea"]
    found = encoders.embed_texts(weights, texts, 64, "float32")
    np.testing.assert_allclose(found, model.encode(texts, show_progress_bar=False), rtol=1e-4, atol=1e-5)


def test_a_sentence_encoder_without_its_library_names_the_line_that_installs_it(tmp_path, monkeypatch):
    (make_encoder(tmp_path / "encoder") / "modules.json").write_text("[]", encoding="utf-8")
    monkeypatch.setattr(encoders, "find_spec", lambda name: None)
    needed = r"needs sentence-transformers: pip install 'trsr\[baselines\]'$"
    with pytest.raises(ConfigError, match=needed):
        encoders.embed_texts(resolve_weights(str(tmp_path / "encoder")), ["x"], 8)
    encoders.check_encoder("smollm2-135m-instruct")
    embedding = {"model": "all-minilm-l6-v2"}
    config = world_config(tmp_path / "nowhere", baselines=["popularity", "embedding"], embedding=embedding)
    with pytest.raises(ConfigError, match=needed):  # before any data is read
        run_experiment(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("make", [SasRec, Gru4Rec])
def test_a_state_has_seen_no_later_token(make):
    torch.manual_seed(0)
    network = make(20, 0.5).eval()
    tokens = torch.randint(START, 22, (2, 9))
    later = tokens.clone()
    later[:, 5:] = torch.randint(START, 22, (2, 4))
    with torch.no_grad():
        here, there = network(tokens), network(later)
    torch.testing.assert_close(here[:, :5], there[:, :5])
    assert (here[:, 5:] - there[:, 5:]).abs().max() > 1e-3


def test_every_event_is_the_target_of_one_window():
    long = np.arange(2 * WINDOW + 7)
    windows = _windows([long, np.array([4])])
    assert all(window[0] == START and len(window) <= WINDOW + 1 for window in windows)
    assert sorted(np.concatenate([window[1:] for window in windows]) - _SPECIAL) == sorted([*long, 4])


def test_validation_is_the_mean_of_recall_at_3_5_and_10():
    class Descending:
        def score(self, requests):
            for request in requests:
                yield -np.arange(len(request.candidates), dtype=np.float32)

    requests = [ask([f"i{place}" for place in range(21)])] * 3
    labels = [[int(place == target) for place in range(21)] for target in (3, 8, 20)]
    assert mean_recall(Descending(), Validation(requests, labels)) == pytest.approx((0 + 1 / 3 + 2 / 3) / 3)


def test_no_score_that_is_not_finite_leaves():
    with pytest.raises(ModelError, match="a score is not finite"):
        mark_unknown(np.array([0, 1]), np.array([1.0, np.nan]))
    assert mark_unknown(np.array([0, -1]), np.array([-5.0, np.nan])).tolist() == [-5, -10]


def test_a_missing_package_is_one_sentence_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(registry, "find_spec", lambda package: None if package == "implicit" else object())
    registry.check_installed(["popularity", "bm25"])
    with pytest.raises(ConfigError) as error:
        registry.check_installed(["popularity", "als"])
    assert str(error.value) == "baselines: als needs implicit: pip install 'trsr[baselines]'"
    assert error.value.exit_code == 2


def test_a_setting_that_cannot_be_fitted_is_told_and_another_one_is_taken(monkeypatch):
    def fit(data, settings, seed):
        if settings == RecentSettings(0.5):
            raise ModelError("it broke")
        return recent_popularity(data, settings, seed)

    data = fit_data()
    data = FitData(data.dataset, data.events, Validation([ask("pw")], [[1, 0]]), "generic", data.embedding)
    grid = (RecentSettings(0.5), RecentSettings(1.0))
    monkeypatch.setattr(registry, "FAMILIES", {"recent_popularity": registry.Family(grid, fit)})
    choice = registry.choose("recent_popularity", data, 0)
    assert choice.chosen == 1
    assert [entry.get("failed") for entry in choice.tried] == ["it broke", None]
    assert choice.tried[0]["valid_recall"] is None
    monkeypatch.setattr(registry, "FAMILIES", {"recent_popularity": registry.Family(grid[:1], fit)})
    with pytest.raises(ModelError, match="no setting of recent_popularity could be fitted: it broke"):
        registry.choose("recent_popularity", data, 0)
