"""What is lent goes to whoever has waited longest, and is never lost."""

import threading
import time

import pytest

from operators.base.lent import Lent


def wait_for_waiting(lent: Lent[str], count: int) -> None:
    deadline = time.monotonic() + 10
    while len(lent._waiting) < count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_those_that_wait_are_served_in_the_order_in_which_they_came() -> None:
    lent, served = Lent(["only"]), list[int]()

    def borrow(number: int) -> None:
        with lent.one():
            served.append(number)

    threads = [threading.Thread(target=borrow, args=(number,)) for number in range(50)]
    with lent.one():
        for number, thread in enumerate(threads):
            thread.start()
            wait_for_waiting(lent, number + 1)
    for thread in threads:
        thread.join()
    assert served == list(range(50))


def test_one_that_gives_back_and_asks_again_at_once_comes_behind_those_that_wait() -> None:
    lent, served = Lent(["only"]), list[str]()

    def again_and_again() -> None:
        with lent.one():
            served.append("waited")

    first = lent.take()
    thread = threading.Thread(target=again_and_again)
    thread.start()
    wait_for_waiting(lent, 1)
    lent.give(first)
    with lent.one():
        served.append("again")
    thread.join()
    assert served == ["waited", "again"]


def test_what_was_given_back_last_is_lent_first() -> None:
    lent = Lent(["a", "b"])
    with lent.one() as first, lent.one() as second:
        assert {first, second} == {"a", "b"}
    with lent.one() as warm:
        assert warm == first


def test_after_a_timeout_nobody_is_handed_anything_in_vain() -> None:
    lent = Lent(["only"])
    thing = lent.take()
    with pytest.raises(TimeoutError):
        lent.take(timeout_s=0.01)
    lent.give(thing)
    assert lent.take(timeout_s=0.01) == "only"


def test_no_thing_is_with_two_at_a_time_nor_lost_however_many_give_up() -> None:
    lent, held, most = Lent(["a", "b"]), set[str](), list[int]()

    def borrow(number: int) -> None:
        for _ in range(200):
            try:
                thing = lent.take(timeout_s=1e-4 if number % 2 else None)
            except TimeoutError:
                continue
            assert thing not in held
            held.add(thing)
            most.append(len(held))
            held.remove(thing)
            lent.give(thing)

    threads = [threading.Thread(target=borrow, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) <= 2
    assert {lent.take(1), lent.take(1)} == {"a", "b"}


def test_a_thing_more_goes_to_one_that_waits() -> None:
    lent, taken = Lent[str]([]), list[str]()
    thread = threading.Thread(target=lambda: taken.append(lent.take()))
    thread.start()
    wait_for_waiting(lent, 1)
    lent.give("new")
    thread.join()
    assert taken == ["new"]
