"""The torture: two replicas of the real service over a real Kafka, to which everything bad is done that is in a seed's
schedule, while honest clients come and go between them; and the proof that none of them has missed anything untold.

::

    schedule     what is done to whom, when: a pure function of the seed
    worker       a producer: aiokafka's, in a process
    saying       what that process does
    transactions a producer that may take back what it has said
    voices       everybody who speaks to one topic
    people       clients, and what befalls them
    replicas     the service's processes, and what is done to them
    breaking     what is done to Kafka
    moving       what is done to three brokers
    logs         what the service may write meanwhile
    clock        a wall clock that can be set
    inside       the real ``tailrace serve``, with somebody in it who can be asked
    witness      somebody else who reads Kafka
    report       what to do, and what came of it
    run          a storm, a calm, a verdict
    __main__     the command
"""
