"""Items that are there twice: copies are dropped, others are faults."""

import polars as pl

from trsr.data.columns import ITEM
from trsr.data.importing.rows import FAULTS, LINE, faults_frame

_DIGEST = "digest"


class Unique:
    """The ids of all items so far, each with a digest of what it says; in memory, some tens of bytes an item."""

    def __init__(self) -> None:
        self.copies = 0
        self._hashes = pl.Series(dtype=pl.UInt64)
        self._known = pl.DataFrame(schema={ITEM: pl.String, _DIGEST: pl.UInt64})
        self._parts: list[pl.DataFrame] = []

    def __len__(self) -> int:
        return self._known.height + sum(part.height for part in self._parts)

    def ids(self) -> pl.Series:
        """All ids."""
        return self._all()[ITEM]

    def add(self, items: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The new ones of some items, and faults for those that were there with another description."""
        digest = items.drop(LINE).hash_rows(seed=0).alias(_DIGEST)
        named = items.select(ITEM, LINE).with_columns(digest)
        if self._all_new(items[ITEM]):
            self._parts.append(named.select(ITEM, _DIGEST))
            return items, faults_frame()
        first = named.group_by(ITEM, maintain_order=True).first()
        before = self._all().rename({_DIGEST: "before"})
        known = named.join(before, on=ITEM, how="left", maintain_order="left")["before"]
        new = named.select(pl.col(ITEM).is_first_distinct()).to_series() & known.is_null()
        within = named.join(first.select(ITEM, pl.col(_DIGEST).alias("first")), on=ITEM, maintain_order="left")
        differs = ~new & (known.fill_null(within["first"]) != digest)
        self.copies += int((~new & ~differs).sum())
        self._parts.append(named.filter(new).select(ITEM, _DIGEST))
        reason = pl.format("item {} is described otherwise further up", pl.col(ITEM))
        faults = named.filter(differs).select(LINE, reason.alias("reason"), pl.lit("").alias("content"))
        return items.filter(new), faults.cast(FAULTS)

    def _all_new(self, ids: pl.Series) -> bool:
        """Whether no id came before, by hashes that are quicker to compare; two may be equal by chance."""
        hashes = pl.concat([self._hashes, ids.hash(seed=0)])
        is_new = hashes.n_unique() == len(hashes)
        self._hashes = hashes if is_new else hashes.unique()
        return is_new

    def _all(self) -> pl.DataFrame:
        if self._parts:
            self._known, self._parts = pl.concat([self._known, *self._parts]), []
        return self._known
