"""Settings, frozen, from the environment and a TOML file; built once, at start.

Only `cli`, `check`, `issuing`, `service` and `app` see `Settings`; everything else gets plain arguments. `forms` reads
how a value may be written, `settings` lists them all, `loading` brings the environment and the file together and says
what is wrong, all at once, by name, and never with the value of a secret; `table` is the documentation. Of secrets,
`secret_files` reads those that come in files, `placeholders` knows those that everybody can guess, and `exposure` sees
who else can read the files. `warning` tells of settings that may be meant and are more often a slip.
"""

from tailrace.config.forms import Address
from tailrace.config.loading import load
from tailrace.config.settings import Settings
from tailrace.config.table import markdown
from tailrace.config.warning import warnings

__all__ = ["Address", "Settings", "load", "markdown", "warnings"]
