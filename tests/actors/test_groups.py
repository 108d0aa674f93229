"""Named groups of actors."""

from __future__ import annotations

import threading

import pytest

from actors import Actor, ActorDeadError, ActorSystem, ForeignRef, InvalidOption, Supervision


class Member(Actor):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_receive(self, message):
        match message:
            case "seen":
                return self.seen
            case "fail":
                raise ValueError("as it was told")
            case "join myself":
                self.system.groups.join("own", self.actor_ref)
            case _:
                self.seen.append(message)
        return None


def test_members_stand_in_the_order_they_joined_and_each_is_told(system):
    refs = [system.spawn(Member) for _ in range(3)]
    for ref in reversed(refs):
        system.groups.join("workers", ref)
    system.groups.join("workers", refs[0])
    assert system.groups.members("workers") == tuple(reversed(refs))
    assert system.groups.tell("workers", "hello") == 3
    assert [ref.ask("seen") for ref in refs] == [["hello"]] * 3


def test_a_group_that_nobody_is_in_does_not_exist(system):
    ref = system.spawn(Member)
    assert system.groups.members("workers") == ()
    assert system.groups.tell("workers", "hello") == 0
    system.groups.join("workers", ref)
    assert system.groups.names() == ("workers",)
    assert system.groups.leave("workers", ref)
    assert not system.groups.leave("workers", ref)
    assert system.groups.names() == ()
    system.groups.join("workers", ref)
    assert system.groups.members("workers") == (ref,)


def test_an_actor_that_ends_leaves_its_groups_before_its_end_is_known(system):
    ref, other = system.spawn(Member), system.spawn(Member)
    for group in ("a", "b"):
        system.groups.join(group, ref)
    system.groups.join("b", other)
    ref.stop()
    assert system.groups.names() == ("b",)
    assert system.groups.members("b") == (other,)


def test_an_actor_stays_in_its_groups_through_a_restart(system):
    ref = system.spawn(Member)
    ref.ask("join myself")
    ref.tell("fail")
    assert ref.ask("seen") == []
    assert system.groups.members("own") == (ref,)


def test_a_dead_actor_cannot_join(system):
    ref = system.spawn(Member)
    ref.stop()
    with pytest.raises(ActorDeadError):
        system.groups.join("workers", ref)
    assert system.groups.names() == ()


def test_an_actor_of_another_system_cannot_join(system):
    with ActorSystem("other") as other, pytest.raises(ForeignRef, match="join it there"):
        system.groups.join("workers", other.spawn(Member))


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_group_has_a_proper_name(system, name):
    with pytest.raises(InvalidOption, match="group"):
        system.groups.join(name, system.spawn(Member))


def test_however_joins_race_with_ends_nobody_dead_stays_in():
    with ActorSystem(supervision=Supervision(intensity=1000)) as system:
        refs = [system.spawn(Member) for _ in range(300)]

        def join(share):
            for ref in share:
                try:
                    system.groups.join("all", ref)
                except ActorDeadError:
                    continue

        def stop(share):
            for ref in share:
                ref.stop(block=False)

        threads = [
            threading.Thread(target=target, args=(refs[part::2],))
            for target in (join, stop)
            for part in (0, 1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        for ref in refs:
            ref.stop()
        assert system.groups.names() == ()
