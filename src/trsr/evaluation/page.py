"""Pages of HTML that load nothing: the environment that all of them are rendered in."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from trsr.evaluation.table import number


def render_page(template: str, **values: Any) -> str:
    """A page as text; everything that comes from data is escaped."""
    environment = Environment(
        loader=PackageLoader("trsr.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment.get_template(template).render(**values)
