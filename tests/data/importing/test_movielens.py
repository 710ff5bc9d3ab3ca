"""MovieLens, every release: a user would otherwise read "Matrix, The (1999)", or lose plots to a leading zero."""

import zipfile

import polars as pl
import pytest
from whole_imports import MOVIELENS, imported, quarantined, recognised, write

from trsr.errors import DataError

TITLES = {
    "Matrix, The (1999)": ("The Matrix", 1999),
    "Blind Side, The  (2009) ": ("The Blind Side", 2009),
    "City of Lost Children, The (Cité des enfants perdus, La) (1995)": (
        "The City of Lost Children (La Cité des enfants perdus)",
        1995,
    ),
    "Enigma, The (a.k.a. Mystery of Hauser, The) (Jeder für sich) (1974)": (
        "The Enigma (a.k.a. The Mystery of Hauser) (Jeder für sich)",
        1974,
    ),
    "Avventura, L' (Adventure, The) (1960)": ("L'Avventura (The Adventure)", 1960),
    "Vitelloni, I (1953)": ("I Vitelloni", 1953),
    "Baader Meinhof Komplex, Der (2008)": ("Der Baader Meinhof Komplex", 2008),
    "Divo, Il (2008)": ("Il Divo", 2008),
    "Misérables, Les (1995)": ("Les Misérables", 1995),
    "American in Paris, An (1951)": ("An American in Paris", 1951),
    "Beautiful Mind, A (2001)": ("A Beautiful Mind", 2001),
    "Good, the Bad and the Ugly, The (1966)": ("The Good, the Bad and the Ugly", 1966),
    "Lord of the Rings: The Two Towers, The (2002)": ("The Lord of the Rings: The Two Towers", 2002),
    "To Have, or Not (En avoir (ou pas)) (1995)": ("To Have, or Not (En avoir (ou pas))", 1995),
    "I Am Curious (Yellow) (1967)": ("I Am Curious (Yellow)", 1967),
    "Human Centipede II (Full Sequence), The (2011)": ("The Human Centipede II (Full Sequence)", 2011),
    "Monsters, Inc. (2001)": ("Monsters, Inc.", 2001),
    "Big Bang Theory, The (2007-)": ("The Big Bang Theory", 2007),
    "Death Note: Desu nôto (2006–2007)": ("Death Note: Desu nôto", 2006),
    "Time of the Great Giving, The (1995) (V)": ("The Time of the Great Giving", 1995),
    "2001: A Space Odyssey (1968)": ("2001: A Space Odyssey", 1968),
    "1984 (1984)": ("1984", 1984),
    "Hyena Road": ("Hyena Road", None),
    "Blue (Bleu)": ("Blue (Bleu)", None),
    '"Great Performances" Cats (1998)': ('"Great Performances" Cats', 1998),
    "(1963)": ("(1963)", 1963),
}


def quoted(text):
    return '"{}"'.format(text.replace('"', '""'))


def test_titles_lose_their_years_and_get_their_articles_back(tmp_path):
    rows = "".join(f"{number},{quoted(title)},Drama\n" for number, title in enumerate(TITLES))
    source = write(tmp_path / "raw", {**MOVIELENS, "movies.csv": f"movieId,title,genres\r\n{rows}"})
    items, _, _ = imported("movielens", source, tmp_path)
    found = {title: (row["title"], row["year"]) for title, row in zip(TITLES, items.to_dicts(), strict=True)}
    assert found == TITLES


def test_the_csv_of_the_latest_releases(tmp_path):
    movies = (
        "movieId,title,genres\n"
        '1,"Matrix, The (1999)",Action|Sci-Fi\n'
        "2,Hyena Road,(no genres listed)\n"
        ",Nameless (2000),Drama\n"
    )
    ratings = (
        "userId,movieId,rating,timestamp\n"
        "7,1,4.5,964982703\n7,2,0.5,964982703\n8,1,five,964982704\n8,2,3,soon\n8,1,3,5\n"
    )
    source = write(tmp_path / "ml-latest", {"movies.csv": movies, "ratings.csv": ratings, "tags.csv": "userId\n"})
    items, events, report = imported("auto", source, tmp_path)
    assert report.format == "movielens"
    assert items.to_dicts() == [
        {"item_id": "1", "title": "The Matrix", "year": 1999, "genres": ["Action", "Sci-Fi"]},
        {"item_id": "2", "title": "Hyena Road", "year": None, "genres": None},
    ]
    assert events.rows() == [("7", "1", 964982703, 4.5), ("7", "2", 964982703, 0.5), ("8", "1", 5, 3.0)]
    assert events.schema["timestamp"] == pl.Int64
    assert quarantined(tmp_path) == [
        ("movies.csv", 4, "no id of the movie"),
        ("ratings.csv", 4, "a rating that is no number"),
        ("ratings.csv", 5, "a timestamp that is no number of seconds"),
    ]
    assert "tags.csv: not read" in report.notes


def test_1m_is_latin_1_in_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w") as archive:
        archive.writestr("ml-1m/movies.dat", "1::Misérables, Les (1995)::Drama|Musical\n".encode("latin-1"))
        archive.writestr("ml-1m/ratings.dat", "1::1::5::978300760\n")
        archive.writestr("ml-1m/users.dat", "1::F::1::10::48067\n")
    items, events, report = imported("auto", tmp_path / "ml-1m.zip", tmp_path)
    assert items.rows() == [("1", "Les Misérables", 1995, ["Drama", "Musical"])]
    assert events.rows() == [("1", "1", 978300760, 5.0)]
    assert report.notes == ["users.dat: not read"]


def test_10m_is_utf_8(tmp_path):
    files = {
        "movies.dat": "1::Misérables, Les (1995)::Drama\n",
        "ratings.dat": "1::1::3.5::838985046\n",
        "tags.dat": "15::1::crying::1215184630\n",
    }
    items, events, _ = imported("auto", write(tmp_path / "ml-10M100K", files), tmp_path)
    assert items.rows() == [("1", "Les Misérables", 1995, ["Drama"])]
    assert events.rows() == [("1", "1", 838985046, 3.5)]


def test_100k_has_flags_for_genres(tmp_path):
    line = "{}|{}|01-Jan-1995||http://example.org/a|{}\n".format
    files = {
        "u.item": line(1, "Misérables, Les (1995)", "0|0|0|1|0|1" + 13 * "|0") + line(2, "unknown", "1" + 18 * "|0"),
        "u.data": "196\t1\t3\t881250949\n186\t2\t3\t891717742\n",
    }
    items, events, _ = imported("auto", write(tmp_path / "ml-100k", files, "latin-1"), tmp_path)
    assert items.rows() == [
        ("1", "Les Misérables", 1995, ["Animation", "Comedy"]),
        ("2", "unknown", None, None),
    ]
    assert events.rows() == [("196", "1", 881250949, 3.0), ("186", "2", 891717742, 3.0)]


MOVIES = "movieId,title,genres\n1,A (1990),Drama\n2,B (1991),Drama\n3,C (1992),Drama\n"
LINKS = "movieId,imdbId,tmdbId\n1,0004972,862\n2,0113497,8844\n3,,\n"


@pytest.mark.parametrize(
    ("plots", "expected"),
    [
        ("movieId,overview\n1,One.\n3,Three.\n", ["One.", None, "Three."]),
        ("tmdbId,overview\n862.0,One.\n8844,\n", ["One.", None, None]),
        ("imdbId,overview\ntt0004972,One.\n113497,Two.\n", ["One.", "Two.", None]),
        ('overview,imdbId\n"One,\ntwo lines.",4972\n', ["One, two lines.", None, None]),
    ],
)
def test_plots_are_joined_by_any_of_the_ids(tmp_path, plots, expected):
    source = write(tmp_path / "raw", {**MOVIELENS, "movies.csv": MOVIES, "links.csv": LINKS, "plots.csv": plots})
    items, _, report = imported("movielens", source, tmp_path)
    assert items["overview"].to_list() == expected
    assert report.bad == 0


def test_plots_may_be_parquet_with_numbers_for_ids(tmp_path):
    source = write(tmp_path / "raw", {**MOVIELENS, "movies.csv": MOVIES, "links.csv": LINKS})
    pl.DataFrame({"imdbId": [4972, 113497], "overview": ["One.", None]}).write_parquet(source / "plots.parquet")
    items, _, _ = imported("movielens", source, tmp_path)
    assert items["overview"].to_list() == ["One.", None, None]


def test_a_second_plot_of_a_movie_is_told(tmp_path):
    plots = "movieId,overview\n1,One.\n1,One.\n1,Another.\n,Nobody's.\n2,Two.\n2,\n"
    source = write(tmp_path / "raw", {**MOVIELENS, "movies.csv": MOVIES, "plots.csv": plots})
    items, _, _ = imported("movielens", source, tmp_path)
    assert items["overview"].to_list() == ["One.", "Two.", None]
    assert quarantined(tmp_path) == [
        ("plots.csv", 4, "another plot for a movieId that is further up"),
        ("plots.csv", 5, "no movieId"),
    ]


@pytest.mark.parametrize(
    ("plots", "message"),
    [
        ("tmdbId,overview\n862,One.\n", "through links.csv"),
        ("movieId,plot\n1,One.\n", r"\(columns: movieId, plot\)"),
    ],
)
def test_plots_that_cannot_be_joined_are_refused(tmp_path, plots, message):
    source = write(tmp_path / "raw", {**MOVIELENS, "plots.csv": plots})
    with pytest.raises(DataError, match=message):
        imported("movielens", source, tmp_path)


def test_two_releases_in_one_folder_are_refused(tmp_path):
    for name in ("old", "new"):
        write(tmp_path / "raw" / name, MOVIELENS)
    with pytest.raises(DataError, match="2 pairs"):
        imported("movielens", tmp_path / "raw", tmp_path)


def test_its_own_layout_is_recognised_and_no_other(tmp_path):
    assert recognised("movielens", tmp_path) == {"movielens"}


def test_the_true_files_of_latest_small(shared, tmp_path):
    items, events, report = imported("auto", shared / "data" / "movielens_small3" / "raw", tmp_path)
    assert (report.format, report.bad, items.height, events.height, report.users) == ("movielens", 0, 9125, 100004, 671)
    assert items.filter(pl.col("title").str.contains(r", (?:The|A|An|La|Le|Les|El|Il)(?: \(|\)|$)")).is_empty()
    assert items["year"].null_count() == 4
    assert items.row(by_predicate=pl.col("item_id") == "2571", named=True)["title"] == "The Matrix"
