"""Settings, frozen, from the environment and a TOML file; built once, at start.

Only `cli` and `app` see `Settings`; everything else gets plain arguments. Four files: `forms` reads how a value may be
written, `settings` lists them all, `loading` brings the environment and the file together and says what is wrong, all
at once, by name, and never with the value of a secret; `table` is the documentation.
"""

from tailrace.config.forms import Address
from tailrace.config.loading import load, warnings
from tailrace.config.settings import Settings
from tailrace.config.table import markdown

__all__ = ["Address", "Settings", "load", "markdown", "warnings"]
