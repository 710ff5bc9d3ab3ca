"""Items that are there twice: copies are dropped, others are faults."""

import polars as pl

from trsr.data.columns import ITEM
from trsr.data.importing.rows import FAULTS, LINE, faults_frame

_DIGEST = "digest"


class Unique:
    """The ids of all items so far, each with a digest of what it says; in memory, some tens of bytes an item."""

    def __init__(self) -> None:
        self.copies = 0
        self._known = pl.DataFrame(schema={ITEM: pl.String, _DIGEST: pl.UInt64})
        self._hashes = hashes(self._known[ITEM])

    def __len__(self) -> int:
        return self._known.height

    def ids(self) -> pl.Series:
        """All ids."""
        return self._known[ITEM]

    def lacks(self, some: pl.Series) -> bool:
        """Whether the id of one of `some` hashes is not there; of an id whose hash another has, it may not be seen."""
        return not some.is_in(self._hashes.implode()).all()

    def add(self, items: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The new ones of some items, and faults for those that were there with another description."""
        digest = items.drop(LINE).hash_rows(seed=0).alias(_DIGEST)
        named = items.select(ITEM, LINE).with_columns(digest)
        its_hashes = hashes(items[ITEM])
        maybe = self._hashes.is_in(its_hashes.implode())
        if not maybe.any() and its_hashes.n_unique() == len(its_hashes):
            self._keep(named, its_hashes)
            return items, faults_frame()
        first = named.group_by(ITEM, maintain_order=True).first()
        before = self._known.filter(maybe).rename({_DIGEST: "before"})
        known = named.join(before, on=ITEM, how="left", maintain_order="left")["before"]
        new = named.select(pl.col(ITEM).is_first_distinct()).to_series() & known.is_null()
        within = named.join(first.select(ITEM, pl.col(_DIGEST).alias("first")), on=ITEM, maintain_order="left")
        differs = ~new & (known.fill_null(within["first"]) != digest)
        self.copies += int((~new & ~differs).sum())
        self._keep(named.filter(new), its_hashes.filter(new))
        reason = pl.format("item {} is described otherwise further up", pl.col(ITEM))
        faults = named.filter(differs).select(LINE, reason.alias("reason"), pl.lit("").alias("content"))
        return items.filter(new), faults.cast(FAULTS)

    def _keep(self, named: pl.DataFrame, its_hashes: pl.Series) -> None:
        self._known.extend(named.select(ITEM, _DIGEST))
        self._hashes.extend(its_hashes)


def hashes(ids: pl.Series) -> pl.Series:
    """Hashes of ids, which are quicker to compare than they are; two may be equal by chance."""
    return ids.hash(seed=0)
