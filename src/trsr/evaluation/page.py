"""Pages of HTML that load nothing: the environment that all of them are rendered in."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from trsr.evaluation.sections import as_cell
from trsr.evaluation.table import number


def render_page(template: str, **values: Any) -> str:
    """A page as text; everything that comes from data is escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("trsr.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "as_cell": as_cell}
    return environment
