"""A small valid source of every built-in format, in the layout of its publishers; all say the same few things.

Three users, four items, ten events. Each is a folder of a few files: name, content.
"""

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import polars as pl

ITEMS = (
    ("B000000001", "Steel ruler, 30 cm", "Acme", "Tools", 4.5),
    ("B000000002", "The “long” rope", "Knot & Sons", "Outdoor", 12.0),
    ("B000000003", "Kärcher hose", "Kärcher", "Garden", 30.25),
    ("B000000004", 'Ruler 12"', "Acme", "Tools", 1.99),
)
USERS = ("A1AAAAAAAAAAA1", "A2AAAAAAAAAAA2", "A3AAAAAAAAAAA3")
EVENTS = tuple((USERS[n % 3], ITEMS[(n * n) % 4][0], float(1 + n % 5), 1_580_000_000 + 86_400 * n) for n in range(10))
EVENTS_SEEN = tuple((user, item) for user, item, *_ in EVENTS)

Files = Mapping[str, bytes]


def _lines(records, write: Callable[[Any], str] = json.dumps) -> bytes:
    return "".join(write(record) + "\n" for record in records).encode()


def _csv(header: str, rows, separator: str = ",") -> bytes:
    def cell(value) -> str:
        text = str(value)
        return '"' + text.replace('"', '""') + '"' if {'"', "\n", separator} & set(text) else text

    return (header + "\n" + "".join(separator.join(map(cell, row)) + "\n" for row in rows)).encode()


def _parquet(frame: pl.DataFrame) -> bytes:
    data = io.BytesIO()
    frame.write_parquet(data)
    return data.getvalue()


def _number(item: str) -> int:
    return int(item[-1])


def _tables() -> tuple[pl.DataFrame, pl.DataFrame]:
    items = pl.DataFrame(ITEMS, schema=["item_id", "title", "brand", "category", "price"], orient="row")
    events = pl.DataFrame(EVENTS, schema=["user_id", "item_id", "rating", "timestamp"], orient="row")
    return items.with_columns(tags=pl.concat_list("brand", "category")), events


def mind() -> Files:
    news = "".join(
        f"N{_number(item)}\t{kind}\t{kind.lower()}us\t{title}\tAbout {brand}.\thttps://x.invalid/{item}\t[]\t[]\n"
        for item, title, brand, kind, _ in ITEMS
    )
    impressions = (
        (1, "U1", "11/12/2019 2:14:46 PM", "N1 N2", "N3-0 N4-1"),
        (2, "U2", "11/11/2019 11:04:07 AM", "", "N1-1 N2-0"),
        (3, "U1", "11/13/2019 9:00:00 AM", "N1 N2", "N2-1 N3-1 N4-0"),
        (4, "U3", "11/14/2019 12:00:00 PM", "N4", "N1-0 N3-1"),
    )
    behaviors = "".join("\t".join(map(str, row)) + "\n" for row in impressions)
    return {"news.tsv": news.encode(), "behaviors.tsv": behaviors.encode()}


def amazon_m2() -> Files:
    products = [
        (item, locale, title, brand, price, "", "", "", "steel", "", f"A {kind} thing\nof {brand}")
        for item, title, brand, kind, price in ITEMS
        for locale in ("UK", "DE")
    ]
    ids = [item for item, *_ in ITEMS]
    sessions = [
        (f"['{ids[0]}' '{ids[1]}'\n '{ids[2]}']", ids[3], "UK"),
        (f"['{ids[1]}']", ids[2], "DE"),
        (f"['{ids[3]}' '{ids[3]}']", ids[0], "UK"),
    ]
    return {
        "products_train.csv": _csv("id,locale,title,brand,price,color,size,model,material,author,desc", products),
        "sessions_train.csv": _csv("prev_items,next_item,locale", sessions),
    }


def amazon_m2_parquet() -> Files:
    """As pandas writes them."""
    text = {name: data.decode() for name, data in amazon_m2().items()}
    products = pl.read_csv(io.StringIO(text["products_train.csv"]))
    sessions = pl.read_csv(io.StringIO(text["sessions_train.csv"]))
    lists = sessions.with_columns(pl.col("prev_items").str.extract_all(r"B\d+"))
    return {"products_train.parquet": _parquet(products), "sessions_train.parquet": _parquet(lists)}


def amazon_2014() -> Files:
    products = [
        {"asin": item, "title": title, "brand": brand, "price": price, "categories": [["All", kind]], "imUrl": "x"}
        for item, title, brand, kind, price in ITEMS
    ]
    reviews = [
        {"reviewerID": user, "asin": item, "overall": rating, "unixReviewTime": time, "helpful": [0, 1]}
        for user, item, rating, time in EVENTS
    ]
    return {
        "meta_Tools.json": _lines(products, repr),
        "reviews_Tools_5.json.gz": gzip.compress(_lines(reviews), mtime=0),
    }


def amazon_2018() -> Files:
    products = [
        {"category": ["All", kind], "title": title, "brand": brand, "price": f"${price}", "asin": item,
         "feature": ["<b>New</b>"], "description": [f"By {brand} &amp; co"], "also_buy": []}
        for item, title, brand, kind, price in ITEMS
    ]  # fmt: skip
    reviews = [
        {"overall": rating, "verified": True, "reviewerID": user, "asin": item, "unixReviewTime": time}
        for user, item, rating, time in EVENTS
    ]
    return {"meta_Tools.json.gz": gzip.compress(_lines(products), mtime=0), "Tools.json": _lines(reviews)}


def amazon_2023() -> Files:
    products = [
        {"main_category": kind, "title": title, "price": price, "store": brand, "categories": [kind],
         "features": ["Long"], "description": [], "details": {"Brand": brand}, "parent_asin": item}
        for item, title, brand, kind, price in ITEMS
    ]  # fmt: skip
    reviews = [
        {"rating": rating, "title": "Good", "text": "So\nso", "asin": item, "parent_asin": item, "user_id": user,
         "timestamp": time * 1000}
        for user, item, rating, time in EVENTS
    ]  # fmt: skip
    return {"meta_Tools.jsonl": _lines(products), "Tools.jsonl": _lines(reviews)}


def amazon_ratings() -> Files:
    products = [{"asin": item, "title": title, "category": [kind]} for item, title, _, kind, _ in ITEMS]
    ratings = "".join(f"{item},{user},{rating},{time}\n" for user, item, rating, time in EVENTS)
    return {"meta_Tools.json": _lines(products), "Tools.csv": ratings.encode()}


def splits() -> Files:
    products = {
        str(_number(item)): {"title": title, "description": f"['By {brand}']", "brand": brand, "categories": kind}
        for item, title, brand, kind, _ in ITEMS
    }
    rows = [(user, "[1, 2]", 3 + n % 2) for n, user in enumerate(USERS)]
    return {
        "Tools.item.json": json.dumps(products, indent=1).encode(),
        "Tools.train.csv": _csv("user_id,history_item_id,item_id", [(user, "[1]", 2) for user in USERS]),
        "Tools.test.csv": _csv("user_id,history_item_id,item_id", rows),
    }


def goodreads() -> Files:
    books = [
        {"book_id": str(_number(item)), "title": title, "authors": [{"author_id": "7", "role": ""}], "series": [],
         "description": f"A book of {kind}", "popular_shelves": [{"count": "9", "name": kind}], "publisher": brand,
         "publication_year": "1999", "language_code": "eng", "num_pages": "120"}
        for item, title, brand, kind, _ in ITEMS
    ]  # fmt: skip
    events = [
        {"user_id": user, "book_id": str(_number(item)), "isRead": True, "rating": int(rating),
         "date_added": (datetime(2012, 3, 1) + timedelta(n)).strftime("%a %b %d 15:43:02 -0700 %Y")}
        for n, (user, item, rating, _) in enumerate(EVENTS)
    ]  # fmt: skip
    authors = [{"author_id": "7", "name": "Ann Other", "average_rating": "4.0"}]
    return {
        "goodreads_books_poetry.json": _lines(books),
        "goodreads_interactions_poetry.json": _lines(events),
        "goodreads_book_authors.json": _lines(authors),
    }


def yelp() -> Files:
    businesses = [
        {"business_id": item, "name": title, "city": "Ulm", "state": "BW", "categories": f"{kind}, {brand}"}
        for item, title, brand, kind, _ in ITEMS
    ]  # fmt: skip
    reviews = [
        {"review_id": f"r{n}", "user_id": user, "business_id": item, "stars": rating, "text": "Fine\n\"so\"",
         "date": f"2018-07-{1 + n:02} 22:09:11"}
        for n, (user, item, rating, _) in enumerate(EVENTS)
    ]  # fmt: skip
    return {
        "yelp_academic_dataset_business.json": _lines(businesses),
        "yelp_academic_dataset_review.json": _lines(reviews),
    }


def steam() -> Files:
    games = [
        {"app_name": title, "title": title, "id": str(_number(item)), "genres": [kind], "tags": [kind, "Fun"],
         "specs": ["Single-player"], "developer": brand, "publisher": brand, "price": price, "early_access": False}
        for item, title, brand, kind, price in ITEMS
    ]  # fmt: skip
    reviews = [
        {"username": user, "product_id": str(_number(item)), "hours": rating, "date": f"2017-12-{1 + n:02}"}
        for n, (user, item, rating, _) in enumerate(EVENTS)
    ]  # fmt: skip
    return {"steam_games.json": _lines(games, repr), "steam_reviews.json": _lines(reviews, repr)}


def movielens() -> Files:
    movies = [(_number(item), f"{title} (1999)", f"{kind}|Drama") for item, title, _, kind, _ in ITEMS]
    ratings = [(1 + USERS.index(user), _number(item), rating, time) for user, item, rating, time in EVENTS]
    return {
        "movies.csv": _csv("movieId,title,genres", movies),
        "ratings.csv": _csv("userId,movieId,rating,timestamp", ratings),
        "links.csv": _csv("movieId,imdbId,tmdbId", [(_number(item), f"00{_number(item)}", 7) for item, *_ in ITEMS]),
    }


def movielens_zip() -> Files:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in movielens().items():
            archive.writestr(zipfile.ZipInfo(f"ml-latest-small/{name}"), content)
    return {"ml-latest-small.zip": data.getvalue()}


def movielens_1m() -> Files:
    movies = "".join(f"{_number(item)}::{title} (1999)::{kind}|Drama\n" for item, title, _, kind, _ in ITEMS)
    ratings = "".join(
        f"{1 + USERS.index(user)}::{_number(item)}::{int(rating)}::{time}\n" for user, item, rating, time in EVENTS
    )
    return {"movies.dat": movies.replace("“", '"').replace("”", '"').encode("latin-1"), "ratings.dat": ratings.encode()}


def recbole() -> Files:
    items = "".join(f"{item}\t{title}\t{kind}\t{price}\n" for item, title, _, kind, price in ITEMS)
    events = "".join(f"{user}\t{item}\t{rating}\t{time}\n" for user, item, rating, time in EVENTS)
    return {
        "shop.item": ("item_id:token\ttitle:token_seq\tkind:token_seq\tprice:float\n" + items).encode(),
        "shop.inter": ("user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + events).encode(),
    }


def dataset_folder() -> Files:
    items, events = _tables()
    return {"items.parquet": _parquet(items), "interactions.parquet": _parquet(events)}


def huggingface() -> Files:
    files: dict[str, bytes] = {}
    for folder, frame in zip(("items", "events"), _tables(), strict=True):
        data = io.BytesIO()
        frame.write_ipc_stream(data, compat_level=pl.CompatLevel.oldest())
        state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}
        files[f"{folder}/data-00000-of-00001.arrow"] = data.getvalue()
        files[f"{folder}/state.json"] = json.dumps(state).encode()
    return files


TABLES = {
    "items": {"file": "products.csv", "columns": {"item": "sku"}},
    "interactions": {
        "file": "orders.jsonl",
        "columns": {"user": "who", "item": "sku", "time": "at", "rating": "stars"},
    },
}


def own_tables() -> Files:
    orders = [
        {"who": user, "sku": item, "at": time, "stars": rating, "more": {"x": 1}} for user, item, rating, time in EVENTS
    ]
    return {"products.csv": _csv("sku,title,brand,kind,price", ITEMS), "orders.jsonl": _lines(orders)}


SAMPLES: Mapping[str, tuple[str, Callable[[], Files], Mapping[str, Any]]] = {
    "mind": ("mind", mind, {}),
    "amazon-m2": ("amazon-m2", amazon_m2, {}),
    "amazon-m2-parquet": ("amazon-m2", amazon_m2_parquet, {}),
    "amazon-2014": ("amazon-reviews", amazon_2014, {}),
    "amazon-2018": ("amazon-reviews", amazon_2018, {}),
    "amazon-2018-ratings": ("amazon-reviews", amazon_ratings, {}),
    "amazon-2023": ("amazon-reviews", amazon_2023, {}),
    "amazon18-splits": ("amazon18-splits", splits, {}),
    "goodreads": ("goodreads", goodreads, {}),
    "yelp": ("yelp", yelp, {}),
    "steam": ("steam", steam, {}),
    "movielens": ("movielens", movielens, {}),
    "movielens-zip": ("movielens", movielens_zip, {}),
    "movielens-1m": ("movielens", movielens_1m, {}),
    "recbole": ("recbole", recbole, {}),
    "huggingface": ("huggingface", huggingface, {}),
    "table": ("table", own_tables, {"tables": TABLES}),
    "trsr": ("trsr", dataset_folder, {}),
}
"""By name: the reader, the files, and settings that it needs."""
