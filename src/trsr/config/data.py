"""Settings of data, of its split into examples, and of candidates."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trsr.config.settings import Count, Fraction, Seed, Settings


class BookshopConfig(Settings):
    """The built-in synthetic data: a bookshop whose readers have a hidden taste that drifts."""

    books: Annotated[int, Field(ge=50, le=5000)] = 400
    readers: Count = 300
    min_events: Annotated[int, Field(ge=2)] = 9
    max_events: Annotated[int, Field(ge=2)] = 16
    seed: Seed = 7

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_events < self.min_events:
            raise ValueError(f"max_events {self.max_events} is below min_events {self.min_events}")
        if self.max_events > self.books // 2:
            raise ValueError("max_events is above half the number of books")
        return self


class DataConfig(Settings):
    """Where items and interactions come from (an experiment needs one source) and which of them are used."""

    path: Path | None = None
    bookshop: BookshopConfig | None = None
    attributes: Annotated[list[str], Field(min_length=1)] | None = None
    min_rating: float | None = None
    min_history: Count = 5
    max_history: Count | None = None

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if self.attributes is not None and len(set(self.attributes)) < len(self.attributes):
            raise ValueError("attributes names one twice; keep one of them")
        return self


class SplitConfig(Settings):
    """Which events are targets for training, validation and test.

    `by`: "time" cuts at two moments in real time, "last" holds out every user's latest two events, "users"
    parts the users (the paper's way); "auto" is "time" where every event has a real time, else "last".
    """

    by: Literal["auto", "time", "last", "users"] = "auto"
    valid: Fraction = 0.1
    test: Fraction = 0.1
    targets_per_user: Count = 1
    max_train: Count | None = None
    max_valid: Count | None = None
    max_test: Count | None = None


CandidateSource = Literal["uniform", "popular", "retrieved", "impressions", "catalogue"]


class CandidateConfig(Settings):
    """What stands beside each target.

    `source` is for validation and test, `train_source` for training; where that is null it is the same, but `uniform`
    for `catalogue`. "uniform" and "popular" draw negatives (`popular` with the share of an item among the training
    events), "retrieved" takes the items nearest to the user's latest ones by `retriever`, "impressions" takes what the
    user was shown, "catalogue" every item that is new to the user. `negatives` and `train_negatives` are counts for
    the first three; of an impression at most `train_negatives` are kept in training, all of them in test.
    """

    source: CandidateSource = "uniform"
    train_source: CandidateSource | None = None
    retriever: Literal["bm25", "embedding"] = "bm25"
    negatives: Count = 20
    train_negatives: Count = 4

    @model_validator(mode="after")
    def _trainable(self) -> Self:
        if self.train_source == "catalogue":
            raise ValueError("train_source catalogue is no set to train on; take uniform, popular or retrieved")
        if self.train_source == "impressions" and self.source != "impressions":
            raise ValueError("train_source impressions needs source impressions, whose split it shares; set both")
        return self

    @property
    def source_in_training(self) -> CandidateSource:
        """Where negatives of training examples come from."""
        return self.train_source or ("uniform" if self.source == "catalogue" else self.source)
