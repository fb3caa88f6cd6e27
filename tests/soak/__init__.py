"""The soak: a real service under a crowd that behaves as badly as crowds do, and whether it is afterwards what it was.

::

    state      the inner state of a service that nobody uses, and how two of them differ
    census     counts it, inside
    planting   leaks on purpose, so that the soak can be seen to find them
    inside     the real ``tailrace serve``, with somebody in it who can be asked
    process    starts that, and asks
    traffic    who is told how much, when: quiet, steady, bursts
    people     honest clients, and what befalls them
    visitors   those who ask wrongly
    run        two equally long halves, each ending with everybody gone; the second must leave what the first has left
    __main__   the command
"""
