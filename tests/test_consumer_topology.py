"""Topics, their incarnations, partitions and leaders: only ever forward."""

from __future__ import annotations

from builders import make_reader
from tailrace.consumer.topology import BELIEVED_AT, Topology
from tailrace.kafka import Identity, NotAuthorized, NotLeader, TopicIdentity, UnknownTopic
from tailrace.position import NO_TOPIC, epoch_of
from tailrace.tail import Tail

NEVER = UnknownTopic("t")


def topic(*leaders: int | None, id_: str = "1", name: str = "t") -> TopicIdentity:
    return TopicIdentity(name, id_, leaders, None)


def identity(*topics: TopicIdentity, cluster: str = "c") -> Identity:
    return Identity(cluster, (1, 2), {each.name: each for each in topics})


def missing(name: str = "t") -> TopicIdentity:
    return TopicIdentity(name, None, (), UnknownTopic(name))


def make(*names: str) -> tuple[Tail, Topology]:
    tail = Tail(names or ["t"], 1 << 20)
    return tail, Topology(tail)


def test_the_first_identity_gives_all_partitions_to_begin() -> None:
    """What existed before this service did has an end that must be asked for."""
    tail, topology = make()
    assert [("t", 0), ("t", 1)] == topology.take_up(identity(topic(1, 2)))
    assert (epoch_of("c", "t", "1"), 2) == (tail.position.epochs[0], tail.partitions(0))


def test_a_partition_added_later_is_read_from_its_beginning() -> None:
    """All that it holds is later, so nobody has to ask where it ends."""
    tail, topology = make()
    topology.take_up(identity(topic(1)))
    tail.begin(0, 0, 9)
    assert [] == topology.take_up(identity(topic(1, 1)))
    assert ((9, 0),) == tail.position.offsets


def test_a_topic_made_after_the_start_is_read_from_its_beginning() -> None:
    """It was known not to exist: all that it holds is later."""
    tail, topology = make()
    for _ in range(BELIEVED_AT):
        assert [] == topology.take_up(identity(missing()))
    assert (NO_TOPIC, []) == (tail.position.epochs[0], topology.unmet)
    assert [] == topology.take_up(identity(topic(1)))
    assert ((0,),) == tail.position.offsets


def test_one_answer_that_a_topic_does_not_exist_is_not_believed() -> None:
    """A broker that has just started may not know it yet: it is no new topic then, and its end must be asked for."""
    _, topology = make()
    topology.take_up(identity(missing()))
    assert ([str(NEVER)], False) == (topology.unmet, topology.is_gone("t"))
    assert [("t", 0)] == topology.take_up(identity(topic(1)))


def test_a_topic_is_gone_when_answers_in_a_row_say_so() -> None:
    """What lies between two such answers takes the first one back."""
    _, topology = make()
    seen = []
    for said in (missing(), topic(1), missing(), missing(), topic(1)):
        topology.take_up(identity(said))
        seen.append(topology.is_gone("t"))
    assert [False, False, False, True, False] == seen


def test_a_topic_of_which_nothing_is_known_is_no_new_topic() -> None:
    """A right that was missing at first is no reason to read the whole log; until then it holds up the start."""
    _, topology = make()
    topology.take_up(identity(TopicIdentity("t", None, (), NotAuthorized("t"))))
    assert [str(NotAuthorized("t"))] == topology.unmet
    assert [("t", 0)] == topology.take_up(identity(topic(1)))
    assert [] == topology.unmet


def test_a_count_never_shrinks_under_one_id() -> None:
    """A broker with stale metadata is not believed, nor are the leaders it tells."""
    tail, topology = make()
    topology.take_up(identity(topic(1, 1)))
    topology.take_up(identity(topic(2)))
    assert (2, {1}) == (tail.partitions(0), topology.leaders)


def test_a_topic_made_again_begins_anew() -> None:
    """Another id is another log: its offsets begin at 0, and fewer partitions are believed."""
    tail, topology = make()
    topology.take_up(identity(topic(1, 1)))
    tail.begin(0, 0, 9)
    assert [] == topology.take_up(identity(topic(1, id_="2")))
    assert (epoch_of("c", "t", "2"), ((0,),)) == (tail.position.epochs[0], tail.position.offsets)


def test_an_id_once_left_is_never_believed_again() -> None:
    """Some broker still tells of the topic that was deleted."""
    tail, topology = make()
    for id_ in ("1", "2", "1"):
        topology.take_up(identity(topic(1, id_=id_)))
    assert epoch_of("c", "t", "2") == tail.position.epochs[0]


def test_readers_of_a_topic_made_again_are_told() -> None:
    """A live reader leaves, with a reset to come."""
    tail, topology = make()
    topology.take_up(identity(topic(1)))
    reader = make_reader(tail)
    topology.take_up(identity(topic(1, id_="2")))
    assert (False, False) == (reader.live, reader.has_nothing_to_come())


def test_a_deleted_topic_has_no_leaders_and_keeps_its_events() -> None:
    """Nobody is asked for it until it is there again; under the same id reading goes on."""
    tail, topology = make()
    topology.take_up(identity(topic(1)))
    tail.begin(0, 0, 5)
    topology.take_up(identity(missing()))
    assert (set(), {"t": str(NEVER)}) == (topology.leaders, topology.troubles)
    topology.take_up(identity(topic(1)))
    assert ((5,), {}) == (tail.position.offsets[0], topology.troubles)


def test_a_partition_without_a_leader_is_named() -> None:
    """An operator reads which one; the others are read."""
    _, topology = make()
    topology.take_up(identity(topic(1, None)))
    assert {"t/1": "partition 1 of topic t has no leader"} == topology.troubles
    assert [("t", 0)] == list(topology.led_by(1))
    assert [True, False, False] == [topology.is_led(("t", partition)) for partition in range(3)]


def test_topics_are_numbered_in_the_order_of_their_names() -> None:
    """So a position means the same on every replica; one topic's trouble is its own."""
    _, topology = make("a", "b")
    topology.take_up(identity(topic(2, name="b"), TopicIdentity("a", None, (), NotLeader("a"))))
    assert (1, {2}, ["a"]) == (topology.number("b"), topology.leaders, list(topology.troubles))
