"""`pixlake --help`: verbs under headings that say what they are for, each with its whole first sentence."""

from itertools import groupby
from typing import Any

from typer.core import TyperGroup

_LONGEST = 200


class PanelledGroup(TyperGroup):
    """Commands by their `rich_help_panel`, which without rich markup is shown nowhere else."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """In the order in which they were added."""
        commands = [(name, self.commands[name]) for name in self.list_commands(ctx)]
        for panel, verbs in groupby(commands, lambda each: getattr(each[1], "rich_help_panel", None)):
            with formatter.section(str(panel)):
                formatter.write_dl([(name, verb.get_short_help_str(_LONGEST)) for name, verb in verbs])
