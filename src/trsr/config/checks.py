"""Settings of the checks that a run makes of itself."""

from typing import Annotated

from pydantic import Field

from trsr.config.settings import Count, Settings


class CheckConfig(Settings):
    """The controls of a run: models scored once more with histories, texts and places exchanged.

    `control_examples` test examples, drawn by the seed, take part (0 for no controls), each with its targets and at
    most `control_negatives` negatives; a baseline scores them with all negatives.
    """

    control_examples: Annotated[int, Field(ge=0)] = 40
    control_negatives: Count = 9
