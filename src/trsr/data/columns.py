"""The names of every column that the rooms of trsr pass to each other."""

from typing import Final

USER: Final = "user_id"
ITEM: Final = "item_id"
TIME: Final = "timestamp"
POSITION: Final = "position"
RATING: Final = "rating"
WEIGHT: Final = "weight"
ORDER: Final = "order"

EXAMPLE: Final = "example_id"
SPLIT: Final = "split"
CUT: Final = "cut"
LABEL: Final = "label"
SOURCE: Final = "source"

TRAIN: Final = "train"
VALID: Final = "valid"
TEST: Final = "test"

TARGET: Final = "target"
UNIFORM: Final = "uniform"
POPULAR: Final = "popular"
IMPRESSION: Final = "impression"
RETRIEVED: Final = "retrieved"
CATALOGUE: Final = "catalogue"

CANDIDATES: Final = (EXAMPLE, USER, ITEM, LABEL, SOURCE)
