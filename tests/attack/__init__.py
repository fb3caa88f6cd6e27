"""The attacks: a real service over a real Kafka, somebody who means harm, and what an honest client feels of it.

::

    measuring   what was seen -> figures, and which bounds they break; pure
    wires       raw connections of an attacker, HTTP/1.1 and HTTP/2, and who opens them
    batches     record batches that are small and unpack to a gigabyte
    strangers   floods by those who have no token
    untaken     answers that nobody takes
    places      connections that only sit there
    producers   records that are meant to harm
    holders     what a good token can be abused for
    table       every attack: its size, what the service is told, its bounds
    attacker    the process that attacks
    honest      the process of a victim, of newcomers and of a probe
    run         one attack against one service of its own
    report      rows for people, JSON for machines
    __main__    the command
"""
