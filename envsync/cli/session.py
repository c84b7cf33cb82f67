"""The session of one command: where it runs, how it prints, and the parts it runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from envsync.client.parts import Parts

Format = Literal["text", "json"]


@dataclass(slots=True, kw_only=True)
class Session(Parts):
    """What every command is given; its folder is where it was started, or ``-C``."""

    interactive: bool
    """Whether standard error is a terminal that shows progress bars."""
    format: Format = "text"
