import pytest
from json_sources import LAYOUTS, imported, quarantined, write, write_json, write_literals

from trsr.config import ImportConfig
from trsr.data.importing.source import Source
from trsr.data.readers.steam import READER
from trsr.errors import DataError


@pytest.mark.parametrize("name", LAYOUTS)
def test_recognises_its_own_layout_and_no_other(tmp_path, name):
    LAYOUTS[name](tmp_path / name)
    assert bool(READER.recognise(Source(tmp_path / name))) == (name == "steam")


GAMES = (
    "{u'publisher': u'Kotoshiro', u'genres': [u'Action', u'Indie'], u'app_name': u'Lost Summoner', "
    "u'title': u'Lost Summoner\\u2122', u'url': u'http://host.invalid/x', u'release_date': u'2018-01-04', "
    "u'tags': [u'Strategy', u\"Beat 'em up\"], u'discount_price': 4.49, u'specs': [u'Single-player'], "
    "u'price': 4.99, u'early_access': False, u'id': u'761140', u'developer': u'Kotoshiro'}\n"
    "{u'app_name': u'Chess', u'price': u'Free To Play', u'id': u'10', u'metascore': None}\n"
)


def review(user="ann", game="10", date="2017-12-17", hours=0.1):
    texts = {"products": 41, "page_order": 0, "text": 'it\'s "so"\n\\o/ [x] \u00e9', "early_access": False, "page": 1}
    return {"username": user, "hours": hours, "product_id": game, "date": date, **texts}


def test_games_and_reviews_in_literals(tmp_path, monkeypatch):
    source = tmp_path / "steam"
    write(source / "steam_games.json.gz", GAMES)
    without = {name: value for name, value in review("Chaos", "761140").items() if name != "hours"}
    write_literals(source / "steam_reviews.json.gz", [review(), without, review(date="2018-01-02")])
    items, interactions, _ = imported(READER, source, monkeypatch)
    assert items == [
        {
            "item_id": "761140",
            "title": "Lost Summoner\u2122",
            "genres": ["Action", "Indie"],
            "tags": ["Strategy", "Beat 'em up"],
            "specs": ["Single-player"],
            "developer": "Kotoshiro",
            "publisher": "Kotoshiro",
            "price": "4.99",
            "release_date": "2018-01-04",
        },
        {
            "item_id": "10",
            "title": "Chess",
            **dict.fromkeys(("genres", "tags", "specs", "developer", "publisher")),
            "price": "Free To Play",
            "release_date": None,
        },
    ]
    assert interactions == [
        {"user_id": "ann", "item_id": "10", "timestamp": 1513468800, "weight": 0.1},
        {"user_id": "Chaos", "item_id": "761140", "timestamp": 1513468800, "weight": None},
        {"user_id": "ann", "item_id": "10", "timestamp": 1514851200, "weight": 0.1},
    ]


def test_plain_json_reads_the_same(tmp_path, monkeypatch):
    write(tmp_path / "a" / "steam_games.json", GAMES)
    write_json(tmp_path / "a" / "steam_new.json", [review(), review("bob")])
    write(tmp_path / "b" / "steam_games.json", GAMES)
    write_literals(tmp_path / "b" / "steam_new.json", [review(), review("bob")])
    assert imported(READER, tmp_path / "a", monkeypatch)[:2] == imported(READER, tmp_path / "b", monkeypatch)[:2]


def test_bad_rows_are_told_with_their_lines(tmp_path, monkeypatch):
    source = tmp_path / "steam"
    write(source / "steam_games.json.gz", GAMES * 10 + "{u'app_name': u'No id'}\n")
    lines = [repr(review()) for _ in range(17)]
    lines += ["{'username': 'ann', 'product_id'", repr(review(game=None)), repr(review(date="December 17"))]
    write(source / "steam_reviews.json.gz", "\n".join(lines))
    _, interactions, report = imported(READER, source, monkeypatch, max_bad=0.2)
    assert (len(interactions), report.item_copies) == (17, 18)
    assert quarantined(source) == [
        ("steam_games.json", 21, "id is missing or no text"),
        ("steam_reviews.json", 18, "not an object of JSON"),
        ("steam_reviews.json", 19, "no product_id"),
        ("steam_reviews.json", 20, "a date that is not like 2017-12-17"),
    ]


def test_of_two_files_of_reviews_one_is_read_and_the_other_told(tmp_path, monkeypatch):
    source = tmp_path / "steam"
    write(source / "steam_games.json.gz", GAMES)
    write_literals(source / "steam_new.json.gz", [review()])
    write_literals(source / "steam_reviews.json.gz", [review(), review("bob")])
    _, interactions, report = imported(READER, source, monkeypatch)
    assert len(interactions) == 1
    assert report.notes == [
        "left out, as steam_new.json holds the same reviews: steam_reviews.json; to take one, remove the other"
    ]


def test_says_which_files_are_missing(tmp_path):
    write(tmp_path / "steam_games.json", GAMES)
    with pytest.raises(DataError, match="give the folder with games and reviews"):
        READER.layout(Source(tmp_path), ImportConfig())
