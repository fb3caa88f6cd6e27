"""Settings, frozen, from the environment and a TOML file; built once, at start.

Only `cli` and `app` see `Settings`; everything else gets plain arguments. `forms` reads how a value may be written,
`settings` lists them all, `loading` brings the environment and the file together and says what is wrong, all at once,
by name, and never with the value of a secret; `table` is the documentation. Secrets: `secret_files` reads those that
come in files, `placeholders` knows those that are none, `exposure` sees who else can read them. `warning` says what may
be meant and is more often a slip.
"""

from tailrace.config.forms import Address
from tailrace.config.loading import load
from tailrace.config.settings import Settings
from tailrace.config.table import markdown
from tailrace.config.warning import warnings

__all__ = ["Address", "Settings", "load", "markdown", "warnings"]
