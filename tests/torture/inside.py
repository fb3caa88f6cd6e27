"""The real ``tailrace serve``, with somebody in it who can be asked what it holds: as in the soak, but without a count
of memory, which makes everything three times as slow.
"""

from __future__ import annotations

from soak.inside import listen
from tailrace.start import main

if __name__ == "__main__":
    listen()
    main()
