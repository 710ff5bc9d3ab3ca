"""Items as text: attributes joined as `name: value` pairs, inert, within a token budget."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trsr.llm.chat import ChatFormat
from trsr.prompts.inert import make_inert
from trsr.prompts.templates import TemplateSet

_AT_ONCE = 1024


class ItemTexts:
    """Texts of the items of one catalogue for one tokenizer, each rendered and measured once.

    `rows` maps an item id to its attribute values. Ids are left out of the text unless `show_ids`, because they
    leak popularity and identity. Empty attributes are left out. `shortened` holds the (item, budget) pairs cut. Whole
    texts need no `chat`.
    """

    def __init__(
        self,
        rows: Mapping[str, Mapping[str, Any]],
        attributes: Sequence[str],
        templates: TemplateSet,
        chat: ChatFormat | None,
        show_ids: bool = False,
    ) -> None:
        self._rows, self._attributes, self._templates, self._chat = rows, attributes, templates, chat
        self._show_ids = show_ids
        self._texts: dict[tuple[str, int], str] = {}
        self._whole: dict[str, str] = {}
        self.shortened: set[tuple[str, int]] = set()

    def text(self, item_id: str, budget: int) -> str:
        """The text of an item in at most `budget` tokens; the end gives way, at a word."""
        assert self._chat is not None
        key = (item_id, budget)
        if key not in self._texts:
            self._remember(key, *self._chat.shorten(self.whole(item_id), budget))
        return self._texts[key]

    def texts(self, item_ids: Sequence[str], budget: int) -> list[str]:
        """`text` of many items, several times as fast."""
        assert self._chat is not None
        missing = [item for item in dict.fromkeys(item_ids) if (item, budget) not in self._texts]
        for some in _parts(missing):
            shortened = self._chat.shorten_all([self.whole(item) for item in some], budget)
            for item, (text, cut) in zip(some, shortened, strict=True):
                self._remember((item, budget), text, cut)
        return [self._texts[item, budget] for item in item_ids]

    def tokens(self, item_ids: Sequence[str]) -> list[int]:
        """How many tokens the whole text of each of many items has."""
        assert self._chat is not None
        return [
            tokens for some in _parts(item_ids) for tokens in self._chat.count_all([self.whole(item) for item in some])
        ]

    def whole(self, item_id: str) -> str:
        """The whole text of an item, however long."""
        if item_id not in self._whole:
            row = self._rows[item_id]
            values = [(name, _plain(row[name])) for name in self._attributes]
            if self._show_ids:
                values.insert(0, ("id", item_id))
            shown = [(name, value) for name, value in values if value]
            pieces = self._templates.text("item", attributes=shown).strip() if shown else "(no text)"
            self._whole[item_id] = make_inert(pieces)
        return self._whole[item_id]

    def _remember(self, key: tuple[str, int], text: str, cut: bool) -> None:
        self._texts[key] = text
        if cut:
            self.shortened.add(key)


def shown_text(row: Mapping[str, Any], attributes: Sequence[str]) -> str:
    """An item as a person is shown it, on a page or a terminal: the values of its first three attributes."""
    values = (_plain(row[name]) for name in attributes[:3])
    return " · ".join(value for value in values if value)


def _parts(item_ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (item_ids[begin : begin + _AT_ONCE] for begin in range(0, len(item_ids), _AT_ONCE))


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return make_inert(", ".join(str(entry) for entry in value if entry is not None))
    return "" if value is None else make_inert(str(value))
