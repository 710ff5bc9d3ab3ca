"""`trsr data check` as a user types it: what it finds, what it costs, and the page that it writes."""

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import polars as pl
import pytest

from experiment.tiny_shop import make_base, make_shop, write_config
from trsr.cli.data_check import _sparkline
from trsr.config import PromptConfig
from trsr.data.survey.finding import percent
from trsr.evaluation.distributions import bar_plot, share_plot
from trsr.evaluation.prompt_sections import duration
from trsr.experiment import prompt_costs
from trsr.llm.chat import ChatFormat
from trsr.llm.protocol import Piece
from trsr.llm.weights import load_tokenizer, resolve_weights
from trsr.prompts.items import ItemTexts
from trsr.prompts.templates import TemplateSet

EVIL = "<script>alert('1')</script>"
PARTS = {"activity", "popularity", "times", "texts", "duplicates", "titles", "order", "tasks", "tokens", "findings"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("check")
    base, shop = make_base(folder / "base"), make_shop(folder / "shop")
    write_config(folder / "config.yaml", base, shop)
    return folder


def findings(content):
    return {finding["topic"]: finding for finding in content["findings"]}


def change(path, edit):
    edit(pl.read_parquet(path)).write_parquet(path)


def checked(trsr, *arguments):
    outcome = trsr("data", "check", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_a_sound_shop_has_nothing_that_stops(trsr, world):
    found = checked(trsr, world / "shop", "--no-tokens")
    assert set(found) >= PARTS
    assert found["no_tokens"] == "tokens were not asked for"
    assert found["tokens"] == {"items": None, "summaries": None, "ranking": None, "refused": None}
    assert {finding["severity"] for finding in found["findings"]} == {"look", "ok"}
    for finding in found["findings"]:
        assert re.fullmatch(r"[A-Z][^.!?]*(\.[a-z_]+[^.!?]*)*\.", finding["advice"]), finding
        assert finding["seen"]
    order = [("stop", "look", "ok").index(finding["severity"]) for finding in found["findings"]]
    assert order == sorted(order)


def test_costs_are_those_of_a_dry_run(trsr, world):
    """Both are told before money is spent, so they must not differ."""
    terms = ["--rate", 2, "--price-in", 3, "--price-out", 5]
    found = checked(trsr, world / "shop", "--config", world / "config.yaml", *terms)["tokens"]["summaries"]
    assert found["sampled_users"] == found["of_users"] == 24
    for one in found["methods"]:
        settings = ["--config", world / "config.yaml", "--store", world / "none.sqlite", "--method", one["method"]]
        dry = json.loads(trsr("summarize", world / "shop", "--dry-run", *settings, *terms, "--json").out)
        for name in ("calls", "tokens_in", "tokens_out", "cost", "seconds"):
            assert one[name] == pytest.approx(dry[name]), name
    lengths = pl.read_parquet(world / "shop" / "interactions.parquet")["user_id"].value_counts()["count"]
    assert [one["blocks"] for one in found["methods"]] == [sum(-(-length // 4) for length in lengths)] * 2


def test_costs_of_a_sample_stand_for_all(trsr, world, monkeypatch):
    whole = checked(trsr, world / "shop", "--config", world / "config.yaml")["tokens"]["summaries"]
    monkeypatch.setattr(prompt_costs, "USERS", 12)
    part = checked(trsr, world / "shop", "--config", world / "config.yaml")["tokens"]["summaries"]
    assert (part["sampled_users"], part["of_users"]) == (12, 24)
    for estimated, exact in zip(part["methods"], whole["methods"], strict=True):
        assert estimated["tokens_in"] != exact["tokens_in"]
        assert estimated["tokens_in"] == pytest.approx(exact["tokens_in"], rel=0.1)
        for name in ("calls", "blocks"):
            assert estimated[name] == pytest.approx(exact[name], rel=0.1)
    again = checked(trsr, world / "shop", "--config", world / "config.yaml")["tokens"]["summaries"]
    assert again == part


def test_tokens_are_counted_as_prompts_count_them(trsr, world, tmp_path):
    most = 45
    config = write_config(tmp_path / "config.yaml", world / "base", world / "shop", prompt={"item_tokens": most})
    found = checked(trsr, world / "shop", "--config", config)
    chat = ChatFormat(load_tokenizer(resolve_weights(str(world / "base"))))
    items = pl.read_parquet(world / "shop" / "items.parquet")
    rows = {row["item_id"]: row for row in items.iter_rows(named=True)}
    texts = ItemTexts(rows, ["title", "subjects"], TemplateSet("books"), chat)
    lengths = {item: len(chat.encode_piece(Piece(texts.whole(item), False))) for item in rows}
    events = [lengths[item] for item in pl.read_parquet(world / "shop" / "interactions.parquet")["item_id"]]
    told = found["tokens"]["items"]
    assert (told["items"]["total"], told["items"]["count"]) == (sum(lengths.values()), 60)
    assert told["events"]["mean"] == pytest.approx(sum(events) / len(events))
    assert told["budgets"][0] == {
        "setting": "prompt.item_tokens",
        "tokens": most,
        "items": sum(length > most for length in lengths.values()) / 60,
        "events": sum(length > most for length in events) / len(events),
    }
    assert 0 < told["budgets"][0]["items"] != told["budgets"][0]["events"] < 1
    ranking = found["tokens"]["ranking"]
    assert ranking["candidates"] == 10
    assert ranking["prefix"]["count"] == 24
    assert ranking["candidate"]["count"] == 240
    total = ranking["prefix"]["total"] + ranking["candidate"]["total"]
    assert ranking["tokens_per_example"] == pytest.approx(total / 24)
    assert ranking["longest"] <= ranking["prefix"]["quantiles"]["max"] + ranking["candidate"]["quantiles"]["max"]
    assert findings(found)["shortened items"]["severity"] == "look"


def test_what_the_summariser_reads_is_counted_by_its_own_templates(trsr, world, tmp_path):
    """Longer items and instructions there take more tokens of its calls, and no more of the ranker's prompts."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "words.yaml").write_text("user: regular\n", encoding="utf-8")
    (own / "item.j2").write_text("A book of our shelves: {% for name, value in attributes %}{{ value }} {% endfor %}")
    (own / "summary_system.j2").write_text("Say what the regular reads. " * 9, encoding="utf-8")
    found = []
    for template in (None, str(own)):
        summaries = {"item_tokens": 45, "template": template}
        config = write_config(tmp_path / "config.yaml", world / "base", world / "shop", summaries=summaries)
        found.append(checked(trsr, world / "shop", "--config", config)["tokens"])
    one, other = found
    budgets = [[budget["items"] for budget in tokens["items"]["budgets"]] for tokens in found]
    assert budgets[0][:2] == budgets[1][:2]
    assert budgets[0][2] < budgets[1][2]
    assert one["ranking"] == other["ranking"]
    calls = [tokens["summaries"]["methods"][0] for tokens in found]
    assert calls[0]["calls"] == calls[1]["calls"]
    assert calls[0]["tokens_in"] < calls[1]["tokens_in"]


def test_a_model_takes_the_place_of_both(trsr, world):
    found = checked(trsr, world / "shop", "--model", world / "base")["tokens"]
    assert {found[part]["model"] for part in ("items", "summaries", "ranking")} == {str(world / "base")}
    assert found["ranking"]["max_tokens"] == PromptConfig().max_tokens
    assert found["ranking"]["context"] is not None


def test_a_prompt_longer_than_the_context_stops(trsr, world, tmp_path):
    base = make_base(tmp_path / "short", max_position_embeddings=128)
    found = checked(trsr, world / "shop", "--model", base)
    assert findings(found)["ranking prompt"]["severity"] == "stop"
    assert "context 128" in findings(found)["ranking prompt"]["seen"]


def test_without_a_tokenizer_words_are_shown_and_one_line_says_why(trsr, world, monkeypatch, tmp_path):
    """The embedded model must not be fetched only to count."""
    monkeypatch.setenv("TRSR_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr("trsr.llm.weights._prepare_embedded", lambda folder: pytest.fail("it was fetched"))
    outcome = trsr("data", "check", world / "shop")
    assert outcome.code == 0
    said = [line for line in outcome.out.splitlines() if line.startswith("no tokens: ")]
    assert said == ["no tokens: smollm2-135m-instruct: not on this machine yet; trsr demo fetches it once"]
    assert "words an item" in outcome.out
    assert "tokens an item" not in outcome.out
    outcome = trsr("data", "check", world / "shop", "--model", tmp_path / "nowhere")
    assert outcome.code == 0
    assert f"no tokens: {tmp_path / 'nowhere'}: no such folder" in outcome.out


def test_what_is_wrong_is_found(trsr, world, tmp_path):
    shop = make_shop(tmp_path / "bad")

    def spoil_items(items):
        first = items.with_row_index().with_columns(
            title=pl.when(pl.col("index") < 20).then(pl.lit("The same title")).otherwise(pl.col("title")),
            description=pl.when(pl.col("index") < 40)
            .then(pl.format("<b>Item</b> {}", pl.col("item_id")))
            .otherwise(pl.lit("long " * 500)),
        )
        return first.drop("index").with_columns(flag=pl.lit("yes"), number=pl.int_range(100_000, 100_060))

    change(shop / "items.parquet", spoil_items)
    at_once = pl.col("timestamp").min().over("user_id")
    change(
        shop / "interactions.parquet", lambda events: events.with_columns(timestamp=at_once).sort("user_id", "item_id")
    )
    found = checked(trsr, shop, "--no-tokens")
    told = findings(found)
    assert told["duplicates"]["seen"].startswith("20 items share their title with another one, 0 ")
    assert told["markup"]["seen"] == "HTML or printed Python lists in description (40)"
    assert told["long fields"]["seen"] == "fields of 2,000 characters or more: 20 of description (up to 2,500)"
    assert told["ids and flags"]["seen"] == "no text but ids or flags: flag, number"
    assert told["ids in texts"]["severity"] == "stop"
    assert told["histories in one go"]["severity"] == "stop"
    assert told["ties in time"]["seen"] == "100 % of neighbouring events share their second"
    assert told["order of tied rows"]["seen"].startswith("in 100 % of 270 tied neighbours")
    for topic in ("duplicates", "markup", "long fields", "ids and flags", "ties in time", "order of tied rows"):
        assert told[topic]["severity"] == "look"


def test_a_shop_that_cannot_be_split_or_sampled_stops(trsr, world, tmp_path):
    shop = make_shop(tmp_path / "tight")
    config = write_config(tmp_path / "config.yaml", world / "base", shop, candidates={"negatives": 50})
    told = findings(checked(trsr, shop, "--config", config))
    lengths = pl.read_parquet(shop / "interactions.parquet").group_by("user_id").agg(pl.col("item_id").n_unique())
    crowded = (lengths["item_id"] + 50 > 60).sum()
    assert told["negatives"]["severity"] == "stop"
    assert f"{crowded} users leave too few" in told["negatives"]["seen"]
    config = write_config(tmp_path / "config.yaml", world / "base", shop, data={"min_history": 99})
    told = findings(checked(trsr, shop, "--config", config))
    assert told["split"]["severity"] == told["history length"]["severity"] == "stop"


class Page(HTMLParser):
    """Tags that must not be there, and every address."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.text = set(), [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action")]

    def handle_data(self, data):
        self.text += data


def test_the_page_loads_nothing_escapes_data_and_shows_the_numbers(trsr, world, tmp_path):
    shop = make_shop(tmp_path / "shop")
    change(shop / "items.parquet", lambda items: items.with_columns(title=pl.format("{} {}", pl.lit(EVIL), "title")))
    content = checked(trsr, shop, "--config", world / "config.yaml", "--rate", 0.5, "--html", tmp_path / "page.html")
    assert content["html"] == str(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.addresses == []
    assert page.tags & {"script", "link", "img", "iframe"} == set()
    assert re.search(r"url\(|@import|https?:", text) is None
    assert "prefers-color-scheme: dark" in text
    for finding in content["findings"]:
        assert finding["seen"].replace(" %", "\xa0%") in page.text
    calls = content["tokens"]["summaries"]["methods"][0]["calls"]
    assert f"{calls:,}" in page.text
    assert duration(calls * 2) in page.text
    plots = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(plots) == 6
    for plot in plots:
        ET.fromstring(plot.replace("\xa0", " "))


def test_the_terminal_ends_with_what_is_gravest(trsr, world):
    outcome = trsr("data", "check", world / "shop", "--model", world / "base", "--html", world / "page.html")
    lines = outcome.out.splitlines()
    assert lines[-1] == f"page: {world / 'page.html'}"
    assert (world / "page.html").is_file()
    shown = [line.split()[0] for line in lines[lines.index("Findings") + 1 :] if re.match(r"(ok|look|stop) ", line)]
    assert shown == sorted(shown, key=["ok", "look", "stop"].index)
    assert "Histories" in lines
    assert "Prompts" in lines


def test_control_characters_of_data_do_not_reach_the_terminal(trsr, tmp_path):
    shop = make_shop(tmp_path / "shop")
    change(shop / "items.parquet", lambda items: items.with_columns(title=pl.lit("\x1b[31mred\x07 [bold]lamp")))
    outcome = trsr("data", "check", shop, "--no-tokens")
    assert outcome.code == 0
    assert "[31mred [bold]lamp" in outcome.out
    assert "\x1b" not in outcome.out
    assert "\x07" not in outcome.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rate", "0"], "data check: --rate 0 never ends; give the calls a second that were measured"),
        (["--no-tokens", "--rate", "3"], "data check: --rate does not go with --no-tokens; give one of them"),
        (["--no-tokens", "--model", "x"], "data check: --model does not go with --no-tokens; give one of them"),
    ],
)
def test_options_that_would_be_passed_over_are_refused(trsr, world, options, said):
    outcome = trsr("data", "check", world / "shop", *options)
    assert (outcome.code, outcome.complaint) == (2, said)


def test_settings_hold_and_min_rating_goes_before_them(trsr, world, tmp_path):
    shop = make_shop(tmp_path / "rated")
    change(shop / "interactions.parquet", lambda events: events.with_columns(rating=pl.int_range(pl.len()) % 5 + 1))
    config = write_config(tmp_path / "config.yaml", world / "base", tmp_path / "elsewhere", data={"min_rating": 2})
    events = pl.read_parquet(shop / "interactions.parquet")
    for options, least in (([], 2), (["--min-rating", 4], 4)):
        found = checked(trsr, shop, "--config", config, *options)
        assert found["events"] == (events["rating"] >= least).sum()
        assert found["attributes"] == ["title", "subjects"]


def test_data_that_cannot_be_read_is_no_finding(trsr, tmp_path):
    outcome = trsr("data", "check", tmp_path / "nowhere", "--html", tmp_path / "page.html")
    assert outcome.code == 3
    assert outcome.complaint.startswith(f"{tmp_path / 'nowhere'}: no such folder")
    assert not (tmp_path / "page.html").exists()


def test_columns_are_as_high_as_their_counts():
    plot = bar_plot("items", [("1", 10), ("2–4", 40), ("5–9", 0), ("10–19", 20)])
    heights = [bar.height for bar in plot.bars]
    assert heights[1] == 2 * heights[3] == 4 * heights[0] > 0 == heights[2]
    assert [bar.shown for bar in plot.bars] == ["1", "2–4", "5–9", "10–19"]
    assert [bar.text for bar in plot.bars] == ["10", "40", "0", "20"]
    assert _sparkline(plot) == "▃█ ▅"
    crowded = bar_plot("items", [(f"{10**n}–{10 ** (n + 1) - 1}", 1) for n in range(7)])
    assert [bar.shown for bar in crowded.bars] == ["1–", "10–", "100–", "1000–", "10000–", "100000–", ""]


def test_shares_run_from_corner_to_corner():
    plot = share_plot("shares", [(0, 0), (0.25, 0.5), (1, 1)], [(0.25, 0.5, "a quarter has half")])
    (x0, y0), (x1, y1), (x2, y2) = plot.points
    assert (x1 - x0) / (x2 - x0) == pytest.approx(0.25, abs=1e-3)
    assert (y1 - y0) / (y2 - y0) == pytest.approx(0.5, abs=1e-3)
    assert y2 < y0  # up
    assert (plot.marks[0].x, plot.marks[0].y) == (x1, y1)


def test_numbers_are_told_as_people_read_them():
    told = [percent(share) for share in (0, 0.0001, 0.123, 0.5, 1)]
    assert told == ["0 %", "less than 0.1 %", "12.3 %", "50 %", "100 %"]
    spans = [duration(seconds) for seconds in (5, 65, 3700, 200_000)]
    assert spans == ["5 s", "1 min 5 s", "1 h 1 min", "2 d 7 h"]
