"""MovieLens: latest-small, latest, 20M, 25M, 32M (CSV), 1M and 10M (`::`), and 100K (`u.item`, `u.data`).

A title such as "Matrix, The (1999)" becomes "The Matrix" and the year 1999. A table of plots beside the movies,
`plots.csv` or `plots.parquet`, is joined by `movieId`, or through `links.csv` by `tmdbId` or `imdbId`.
"""

import codecs
import csv
from dataclasses import dataclass

import polars as pl

from trsr.config import ImportConfig
from trsr.data.columns import ITEM, RATING, TIME, USER
from trsr.data.events import YEAR_9999
from trsr.data.importing.delimited import Delimited
from trsr.data.importing.moments import seconds
from trsr.data.importing.reader import FAULTY, INTERACTIONS, ITEMS, Batches, Layout, Reader, Table
from trsr.data.importing.rows import LINE, sift
from trsr.data.importing.source import Source, SourceFile
from trsr.data.readers.movielens_plots import OVERVIEW, Plots, find_plots
from trsr.data.validation import blank_text
from trsr.errors import DataError

_MOVIES = ("movieId", "title", "genres")
_RATINGS = ("userId", "movieId", "rating", "timestamp")

# the flags at the end of a line of u.item, in the order of u.genre; the first means that none is known
_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_ITEM_100K = ("movieId", "title", "released", "video", "url", *_GENRES)

_NO_GENRES = "(no genres listed)"
_YEAR = r"\s*\((\d{4})\s*(?:[-–]\s*(?:\d{4})?\s*)?\)\s*(?:\(V\)\s*)?$"
_ARTICLES = (
    "The|An?|Le|La|Les|Une?|Des|El|Los?|Las|Una|Il|Gli|I|Der|Die|Das|Dem|Den|Det|Eine?|De|Het|Een|Ett|En|Os?|As|Um|Uma"
)
_ENDS = r"(\s*(?:[()]|$))"
_ALIAS = r"((?:a\.k\.a\.?\s*)?)"

_ITEM_SCHEMA = pl.Schema(
    [(ITEM, pl.String()), ("title", pl.String()), ("year", pl.Int64()), ("genres", pl.List(pl.String()))]
)
_EVENTS = pl.Schema({USER: pl.String, ITEM: pl.String, TIME: pl.Int64, RATING: pl.Float64})


@dataclass(frozen=True)
class _Release:
    """Where the tables of one release are, and how they are written."""

    movies: SourceFile
    ratings: SourceFile
    movie_rows: Delimited
    rating_rows: Delimited


def _recognise(source: Source) -> str:
    found = _releases(source)
    return f"{found[0].movies.base} and {found[0].ratings.base}" if found else ""


def _releases(source: Source) -> list[_Release]:
    """Each file of movies with the ratings beside it."""
    found = []
    for names, make in (
        (("movies.csv", "ratings.csv"), _csv),
        (("movies.dat", "ratings.dat"), _dat),
        (("u.item", "u.data"), _pipes),
    ):
        for movies in source.matching(f"*{names[0]}"):
            prefix = movies.name[: -len(names[0])]
            ratings = next((f for f in source.files if f.name.lower() == f"{prefix}{names[1]}".lower()), None)
            release = make(movies, ratings) if ratings else None
            if release is not None:
                found.append(release)
    return found


def _csv(movies: SourceFile, ratings: SourceFile) -> _Release | None:
    if _header(movies) != [*_MOVIES] or _header(ratings) != [*_RATINGS]:
        return None
    return _Release(movies, ratings, Delimited(_MOVIES), Delimited(_RATINGS))


def _header(file: SourceFile) -> list[str]:
    line = file.head(4096).decode(errors="replace").removeprefix("\ufeff").partition("\n")[0]
    return [name.strip() for name in next(csv.reader([line]), [])]


def _dat(movies: SourceFile, ratings: SourceFile) -> _Release | None:
    if ratings.head(4096).partition(b"\n")[0].count(b"::") != 3:
        return None
    rows = Delimited(_MOVIES, _MOVIES, separator="::", quoted=False, encoding=_encoding(movies))
    return _Release(movies, ratings, rows, Delimited(_RATINGS, _RATINGS, separator="::", quoted=False))


def _pipes(movies: SourceFile, ratings: SourceFile) -> _Release | None:
    if movies.head(4096).partition(b"\n")[0].count(b"|") != len(_ITEM_100K) - 1:
        return None
    wanted = ("movieId", "title", *_GENRES)
    rows = Delimited(wanted, _ITEM_100K, separator="|", quoted=False, encoding=_encoding(movies))
    return _Release(movies, ratings, rows, Delimited(_RATINGS, _RATINGS, separator="\t", quoted=False))


def _encoding(file: SourceFile) -> str:
    """The 10M release is UTF-8, older ones are Latin-1."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(file.head(2**23))
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _layout(source: Source, config: ImportConfig) -> Layout:
    found = _releases(source)
    if len(found) != 1:
        raise DataError(
            f"{source.path}: {len(found)} pairs of movies and ratings; give the folder or archive of one release, with "
            "movies.csv and ratings.csv, movies.dat and ratings.dat, or u.item and u.data"
        )
    [release] = found
    notes = [
        f"{file.base}: not read"
        for file in source.matching("*tags.csv", "tags.dat", "users.dat", "u.user", "genome-*.csv")
    ]
    plots, items = find_plots(source), _ITEM_SCHEMA
    reads = [
        Table(release.movies, release.movie_rows, _Movies(plots)),
        Table(release.ratings, release.rating_rows, _ratings, apart=True),
    ]
    if plots is not None:
        reads = [*plots.tables, *reads]
        items = pl.Schema([*items.items(), (OVERVIEW, pl.String())])
    return Layout(reads, items, _EVENTS, notes=notes)


def _ratings(frame: pl.DataFrame) -> Batches:
    time, rating = seconds("timestamp", pl.String()), pl.col("rating").cast(pl.Float64, strict=False)
    read = frame.select(LINE, "userId", "movieId", time.alias(TIME), rating.alias(RATING))
    good, faults = sift(
        read,
        {
            "no user": blank_text(pl.col("userId")),
            "no movie": blank_text(pl.col("movieId")),
            "a rating that is no number": ~pl.col(RATING).is_finite().fill_null(value=False),
            "a timestamp that is no number of seconds": pl.col(TIME).is_null() | (pl.col(TIME).abs() > YEAR_9999),
        },
    )
    return {INTERACTIONS: good.rename({"userId": USER, "movieId": ITEM}).cast(_EVENTS), FAULTY: faults}


class _Movies:
    def __init__(self, plots: Plots | None) -> None:
        self.plots = plots

    def __call__(self, frame: pl.DataFrame) -> Batches:
        good, faults = sift(
            frame, {"no id of the movie": blank_text(pl.col("movieId")), "no title": pl.col("title").is_null()}
        )
        title = pl.col("title").str.replace(_YEAR, "").str.strip_chars()
        items = good.select(
            LINE,
            pl.col("movieId").alias(ITEM),
            _without_inversion(pl.when(title == "").then(pl.col("title")).otherwise(title)).alias("title"),
            pl.col("title").str.extract(_YEAR).cast(pl.Int64).alias("year"),
            _genres(good.columns).alias("genres"),
        )
        return {ITEMS: items if self.plots is None else self.plots.joined(items), FAULTY: faults}


def _without_inversion(title: pl.Expr) -> pl.Expr:
    """Articles back before the titles, and before other titles in parentheses, that they were put behind."""
    title = title.str.replace(rf"^(.*\)), ({_ARTICLES})$", "${2} ${1}")
    title = title.str.replace_all(rf"{_ALIAS}([^()]+), ({_ARTICLES}){_ENDS}", "${1}${3} ${2}${4}")
    return title.str.replace_all(rf"{_ALIAS}([^()]+), (L'){_ENDS}", "${1}${3}${2}${4}")


def _genres(columns: list[str]) -> pl.Expr:
    if "genres" in columns:
        return pl.when(pl.col("genres") != _NO_GENRES).then(pl.col("genres").str.split("|"))
    listed = pl.concat_list(pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in _GENRES[1:]).list.drop_nulls()
    return pl.when(listed.list.len() > 0).then(listed)


READER = Reader("movielens", "MovieLens, any release, with plots beside it where there are", _recognise, _layout)
