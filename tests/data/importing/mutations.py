"""Ways in which a download goes wrong, made from a good one by a seed."""

import gzip
import io
import random
import zlib
from collections.abc import Callable, Mapping

import polars as pl

Change = Callable[[bytes, random.Random], bytes]

_ODD = (
    "",
    " ",
    "NaN",
    "inf",
    "-1",
    "1e309",
    "99999999999999999999999",
    "0x10",
    "٣",
    "null",
    "None",
    '"',
    "'",
    "\\",
    "[]",
)
_ODD += (
    "{}",
    "true",
    "\ud7ff",
    "a\u2028b",
    "1_0",
    "-0",
    "1.5",
    "2**8",
    "0000-00-00",
    "9999-99-99",
    "%s",
    "../x",
    "\x1b[0m",
)
_SEPARATORS = (b",", b"\t", b";", b"|", b"::", b" ", b":")


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def cut_start(data: bytes, rng: random.Random) -> bytes:
    return data[rng.randrange(len(data) + 1) :]


def flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 20))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def random_bytes(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice((1, 4, 200))) + data[at:]


def span_lost(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.randrange(60) :]


def span_twice(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at : at + rng.randrange(200)] + data[at:]


def empty(data: bytes, rng: random.Random) -> bytes:
    return rng.choice((b"", b"\n", b" ", b"\xef\xbb\xbf", b"{}", b"[]", b"PAR1", b"\x1f\x8b"))


def other_separator(data: bytes, rng: random.Random) -> bytes:
    return data.replace(*rng.sample(_SEPARATORS, 2))


def columns_swapped(data: bytes, rng: random.Random) -> bytes:
    separator = max(_SEPARATORS[:5], key=data.count)
    lines = data.split(b"\n")
    fields = lines[0].count(separator) + 1
    one, two = rng.randrange(fields), rng.randrange(fields)
    chosen = range(len(lines)) if rng.random() < 0.5 else [rng.randrange(len(lines))]
    for line in chosen:
        parts = lines[line].split(separator)
        if max(one, two) < len(parts):
            parts[one], parts[two] = parts[two], parts[one]
            lines[line] = separator.join(parts)
    return b"\n".join(lines)


def field_lost(data: bytes, rng: random.Random) -> bytes:
    separator = max(_SEPARATORS[:5], key=data.count)
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    parts = lines[at].split(separator)
    del parts[rng.randrange(len(parts))]
    lines[at] = separator.join(parts)
    return b"\n".join(lines)


def odd_value(data: bytes, rng: random.Random) -> bytes:
    """A word or number becomes another value."""
    text = data.decode("latin-1")
    starts = [at for at in range(1, len(text)) if text[at].isalnum() and not text[at - 1].isalnum()]
    if not starts:
        return data
    at = end = rng.choice(starts)
    while end < len(text) and (text[end].isalnum() or text[end] in ".-"):
        end += 1
    return data[:at] + rng.choice(_ODD).encode(errors="replace") + data[end:]


def odd_values(data: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.randrange(2, 9)):
        data = odd_value(data, rng)
    return data


def huge_field(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice((b"x", b"9", b"a b ", b'"', b"[", b"\xf0\x9f\x98\x80")) * 30_000 + data[at:]


def mark(data: bytes, rng: random.Random) -> bytes:
    return b"\xef\xbb\xbf" + data


def carriage_returns(data: bytes, rng: random.Random) -> bytes:
    return data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\r\r\n", b"\n\r")))


def other_encoding(data: bytes, rng: random.Random) -> bytes:
    name = rng.choice(("latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "utf-7", "cp037"))
    return data.decode(errors="replace").encode(name, errors="replace")


def nul(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + b"\0" * rng.choice((1, 1, 5000)) + data[at:]


def quote(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice((b'"', b"'", b'""', b"\\", b'"\n"')) + data[at:]


def lines_lost(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join(line for line in lines if rng.random() < 0.7)


def lines_twice(data: bytes, rng: random.Random) -> bytes:
    return b"".join(line * rng.choice((1, 1, 2)) for line in data.splitlines(keepends=True))


def lines_shuffled(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    rng.shuffle(lines)
    return b"".join(lines)


def lines_joined(data: bytes, rng: random.Random) -> bytes:
    return data.replace(b"\n", b"", rng.choice((1, 3, -1)))


def blank_lines(data: bytes, rng: random.Random) -> bytes:
    return data.replace(b"\n", rng.choice((b"\n\n", b"\n \n", b"\n\t\n")), rng.choice((1, 3, -1)))


def nested(data: bytes, rng: random.Random) -> bytes:
    depth = rng.choice((10, 500, 5000))
    return data.replace(b":", b": " + rng.choice((b"[", b'{"a":')) * depth, 1)


ON_TEXT: tuple[Change, ...] = (
    cut, cut_start, flip, random_bytes, span_lost, span_twice, empty, other_separator, columns_swapped, field_lost,
    odd_value, odd_value, odd_values, huge_field, mark, carriage_returns, other_encoding, nul, quote, lines_lost,
    lines_twice, lines_shuffled, lines_joined, blank_lines, nested,
)  # fmt: skip
ON_BYTES: tuple[Change, ...] = (cut, cut_start, flip, flip, flip, random_bytes, span_lost, span_twice, empty, nul)


def other_table(data: bytes, rng: random.Random) -> bytes:
    """A Parquet file with another table in it."""
    frame = pl.read_parquet(io.BytesIO(data))
    name = rng.choice(frame.columns)
    kinds = (pl.String, pl.Int64, pl.Float32, pl.Boolean, pl.Binary, pl.Datetime("ms", "UTC"), pl.Date, pl.Time)
    change = rng.choice(
        (
            lambda: frame.drop(name),
            lambda: frame.rename({name: rng.choice(("x", "line", "row", "", "user_id ", "a\nb"))}),
            lambda: frame.with_columns(pl.lit(None).alias(name)),
            lambda: frame.with_columns(pl.lit(None, rng.choice(kinds)).alias(name)),
            lambda: frame.with_columns(pl.when(pl.int_range(pl.len()) > 1).then(pl.col(name)).alias(name)),
            lambda: frame.with_columns(pl.concat_list(pl.col(name).cast(pl.String, strict=False)).alias(name)),
            lambda: frame.with_columns(pl.struct(pl.col(name).alias("inner")).alias(name)),
            lambda: frame.with_columns(pl.int_range(pl.len()).cast(rng.choice(kinds[:5]), strict=False).alias(name)),
            lambda: frame.with_columns(pl.int_range(pl.len()).cast(rng.choice(kinds[5:]), strict=False).alias(name)),
            lambda: frame.with_columns(pl.lit(float("nan")).alias(name)),
            lambda: frame.with_columns(pl.lit(rng.choice(_ODD).encode(errors="replace").decode()).alias(name)),
            lambda: frame.with_columns(pl.lit(10 ** rng.choice((12, 15, 18))).alias(name)),
            lambda: frame.with_columns(pl.lit(b"\xff\xfe").alias(name)),
            lambda: frame.with_columns(pl.lit("x", pl.Categorical).alias(name)),
            lambda: frame.clear(),
            lambda: frame.select(name),
            lambda: pl.concat([frame, frame.reverse()]),
        )
    )
    return _as_parquet(change())


def _as_parquet(frame: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.write_parquet(file)
    return file.getvalue()


def mutated(files: Mapping[str, bytes], seed: str) -> tuple[dict[str, bytes], str]:
    """The files with some of them changed, and what was done; the same for the same seed."""
    rng = random.Random(seed)
    changed, told = dict(files), []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        name = rng.choice(sorted(changed))
        if rng.random() < 0.03 and len(changed) > 1:
            del changed[name]
            told.append(f"{name}: gone")
            continue
        changed[name], how = _changed(name, changed[name], rng)
        told.append(f"{name}: {how}")
    return changed, "; ".join(told)


def _changed(name: str, data: bytes, rng: random.Random) -> tuple[bytes, str]:
    if name.endswith(".gz"):
        change = rng.choice(ON_BYTES)
        if rng.random() < 0.3:
            return change(data, rng), f"{change.__name__} of the archive"
        change = rng.choice(ON_TEXT)
        try:
            return gzip.compress(change(gzip.decompress(data), rng), 1, mtime=0), change.__name__
        except (OSError, EOFError, ValueError, zlib.error):
            return change(data, rng), change.__name__
    if name.endswith(".parquet") and rng.random() < 0.6:
        try:
            return other_table(data, rng), "other_table"
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError):
            pass  # it is none any more
    change = rng.choice(ON_BYTES if name.endswith((".parquet", ".arrow", ".zip")) else ON_TEXT)
    return change(data, rng), change.__name__
