"""The books of the synthetic bookshop: hidden traits first, then a title and a description that show them."""

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import numpy as np
import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict

SUBJECTS_SHARE = 0.85
THEMED_TITLE_SHARE = 0.75
HOME_AUTHOR_SHARE = 0.7
BOOKS_PER_AUTHOR = 5
LONG_SHARE = 0.2
DESCRIPTION_WORDS = range(40, 81)
ZIPF_SHIFT = 0.05  # as a share of the catalogue; flattens the head of the popularity curve
_SMALL_WORDS = {
    "a",
    "an",
    "and",
    "at",
    "before",
    "beyond",
    "for",
    "from",
    "in",
    "of",
    "on",
    "out",
    "the",
    "through",
    "to",
    "with",
}


class _Vocabulary(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Theme(_Vocabulary):
    """The characteristic words of one theme, by the place they take in a sentence."""

    subjects: list[str]
    people: list[str]
    places: list[str]
    things: list[str]
    matters: list[str]
    troubles: list[str]
    deeds: list[str]


class Mood(_Vocabulary):
    """The words by which a description shows its mood."""

    adjectives: list[str]
    closings: list[str]


class Lexicon(_Vocabulary):
    """Everything in words.yaml."""

    themes: dict[str, Theme]
    moods: dict[str, Mood]
    openings: list[str]
    turns: list[str]
    colours: list[str]
    crossings: list[str]
    quests: list[str]
    themed_titles: list[str]
    plain_titles: list[str]
    towns: list[str]
    eras: list[str]
    women: list[str]
    men: list[str]
    surnames: list[str]


@cache
def read_lexicon() -> Lexicon:
    """The vocabulary that ships with the package."""
    text = files("trsr.data.bookshop").joinpath("words.yaml").read_text(encoding="utf-8")
    return Lexicon.model_validate(yaml.safe_load(text))


def make_books(count: int, rng: np.random.Generator) -> pl.DataFrame:
    """`count` books sorted by their opaque id.

    Columns: item_id, title, author, subjects (null where missing), description; then the hidden traits main,
    secondary, mood and popularity (centred log of a shifted Zipf law).
    """
    lexicon = read_lexicon()
    authors = _authors(lexicon, max(count // BOOKS_PER_AUTHOR, len(lexicon.themes)), rng)
    popularity = _popularity(rng.permutation(count) + 1)
    used: set[str] = set()
    rows = []
    for number in range(count):
        main, secondary = two_of(list(lexicon.themes), rng)
        mood = pick(list(lexicon.moods), rng)
        slots = _slots(lexicon, lexicon.themes[main], lexicon.themes[secondary], lexicon.moods[mood], rng)
        rows.append(
            {
                "item_id": f"b{number:04d}",
                "title": _title(lexicon, slots, used, rng),
                "author": _author(authors, main, list(lexicon.themes), rng),
                "subjects": _subjects(lexicon.themes[main], lexicon.themes[secondary], rng),
                "description": _description(lexicon, lexicon.moods[mood], slots, rng),
                "main": main,
                "secondary": secondary,
                "mood": mood,
                "popularity": popularity[number],
            }
        )
    return pl.DataFrame(rows, schema_overrides={"subjects": pl.String})


def pick(options: Sequence[str], rng: np.random.Generator) -> str:
    """One of `options`, uniformly."""
    return options[int(rng.integers(len(options)))]


def two_of(options: Sequence[str], rng: np.random.Generator) -> tuple[str, str]:
    """Two different `options`, uniformly."""
    first, second = rng.permutation(len(options))[:2]
    return options[first], options[second]


def _popularity(ranks: np.ndarray) -> list[float]:
    log_weight = -np.log(ranks + ZIPF_SHIFT * len(ranks))
    # Rounded so that the last bit of a logarithm, which differs between processors, is never stored.
    return [round(float(value), 6) for value in log_weight - log_weight.mean()]


def _authors(lexicon: Lexicon, count: int, rng: np.random.Generator) -> list[str]:
    first_names = lexicon.women + lexicon.men
    pairs = rng.permutation(len(first_names) * len(lexicon.surnames))[:count]
    return [f"{first_names[pair % len(first_names)]} {lexicon.surnames[pair // len(first_names)]}" for pair in pairs]


def _author(authors: list[str], main: str, themes: list[str], rng: np.random.Generator) -> str:
    """Most books come from an author who is at home in the theme."""
    at_home = authors[themes.index(main) :: len(themes)]
    return pick(at_home if rng.random() < HOME_AUTHOR_SHARE else authors, rng)


def _subjects(main: Theme, secondary: Theme, rng: np.random.Generator) -> str | None:
    subjects = f"{pick(main.subjects, rng)}, {pick(secondary.subjects, rng)}"
    return subjects if rng.random() < SUBJECTS_SHARE else None


def _slots(lexicon: Lexicon, main: Theme, other: Theme, mood: Mood, rng: np.random.Generator) -> dict[str, str]:
    woman = rng.random() < 0.5
    name = pick(lexicon.women if woman else lexicon.men, rng)
    surname = pick(lexicon.surnames, rng)
    they, their, them = ("she", "her", "her") if woman else ("he", "his", "him")
    place, place2 = two_of(main.places, rng)
    matter, matter2 = two_of(main.matters, rng)
    thing, thing2, thing3 = (main.things[index] for index in rng.permutation(len(main.things))[:3])
    return {
        **{"hero": f"{name} {surname}", "name": name, "surname": surname},
        **{"they": they, "their": their, "them": them},
        "friend": pick([someone for someone in lexicon.women + lexicon.men if someone != name], rng),
        "town": pick(lexicon.towns, rng),
        "era": pick(lexicon.eras, rng),
        "adj": pick(mood.adjectives, rng),
        **{"person": pick(main.people, rng), "place": place, "place2": place2},
        **{"thing": thing, "thing2": thing2, "thing3": thing3, "matter": matter, "matter2": matter2},
        "trouble": pick(main.troubles, rng),
        "deed": pick(main.deeds, rng),
        "other_person": pick(other.people, rng),
        "other_place": pick(other.places, rng),
        "other_thing": pick(other.things, rng),
        "other_matter": pick(other.matters, rng),
    }


def _title(lexicon: Lexicon, slots: dict[str, str], used: set[str], rng: np.random.Generator) -> str:
    """A title that is not in `used`, about the names of the description unless those are taken."""
    while True:
        themed = rng.random() < THEMED_TITLE_SHARE
        template = pick(lexicon.themed_titles if themed else lexicon.plain_titles, rng)
        title = _title_case(_with_articles(template.format_map(slots)))
        if title not in used:
            used.add(title)
            return title
        name, friend = two_of(lexicon.women + lexicon.men, rng)
        slots = slots | {"name": name, "friend": friend, "town": pick(lexicon.towns, rng)}


def _title_case(text: str) -> str:
    first, *rest = text.split()
    return " ".join(
        [first[0].upper() + first[1:], *(word if word in _SMALL_WORDS else word[0].upper() + word[1:] for word in rest)]
    )


def _description(lexicon: Lexicon, mood: Mood, slots: dict[str, str], rng: np.random.Generator) -> str:
    """An opening, two or three sentences on the main theme around one on the secondary, and a closing."""
    parts = (lexicon.turns, lexicon.colours, lexicon.quests)
    while True:
        size = 3 if rng.random() < LONG_SHARE else 2
        chosen = [parts[index] for index in rng.permutation(len(parts))[:size]]
        chosen.insert(int(rng.integers(len(chosen) + 1)), lexicon.crossings)
        templates = [pick(options, rng) for options in (lexicon.openings, *chosen, mood.closings)]
        sentences = [_with_articles(template.format_map(slots)) for template in templates]
        text = " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)
        if len(text.split()) in DESCRIPTION_WORDS:
            return text


def _with_articles(text: str) -> str:
    return re.sub(r"\b([Aa]) (?=[aeiouAEIOU])", r"\1n ", text)
