"""The real ``tailrace serve``, with somebody in it who can be asked what it holds: as in the soak, but without a count
of memory, which makes everything three times as slow; and by a clock that can be set.
"""

from __future__ import annotations

import os
from pathlib import Path

from torture.clock import CLOCK, Clock, follow

if __name__ == "__main__":
    follow(Clock(Path(os.environ[CLOCK])))  # first: what is imported below keeps the function that it finds

    from soak.inside import listen
    from tailrace.start import main

    listen()
    main()
