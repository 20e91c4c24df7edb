"""What is sent again, when, how often, and what is said where it is not."""

from __future__ import annotations

import pytest

from polycall import DeadlineError, TransportError
from polycall._retry import Retries


def fault(status=None, **details):
    return TransportError("it failed", status=status, **{"transient": True, **details})


def test_pauses_grow_to_eight_seconds():
    for _ in range(50):
        retries = Retries(8)
        pauses = [retries.pause(fault(503), None) for _ in range(8)]
        for count, pause in enumerate(pauses):
            longest = min(8.0, 0.5 * 2**count)
            assert 0.75 * longest <= pause <= longest
        assert retries.count == 8


def test_pauses_differ():
    assert len({Retries(1).pause(fault(503), None) for _ in range(20)}) > 1


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_so_often_and_no_more(limit):
    retries = Retries(limit)
    for _ in range(limit):
        retries.pause(fault(503), None)
    error = fault(503)
    with pytest.raises(TransportError) as caught:
        retries.pause(error, None)
    assert caught.value is error
    assert str(error) == "it failed"
    assert retries.count == limit


def test_what_is_lasting_is_raised_as_it_is():
    error = fault(400, transient=False)
    with pytest.raises(TransportError) as caught:
        Retries(5).pause(error, 10.0)
    assert caught.value is error
    assert str(error) == "it failed"


def test_the_end_of_the_time_is_final():
    with pytest.raises(DeadlineError, match=r"^too late$"):
        Retries(5).pause(DeadlineError("too late", transient=True), 10.0)


@pytest.mark.parametrize("left", [None, 100.0])
def test_an_answer_that_cannot_be_read_is_asked_for_once_more(left):
    retries = Retries(5)
    retries.pause(fault(200), left)
    with pytest.raises(TransportError):
        retries.pause(fault(206), left)
    assert retries.count == 1
    retries.pause(fault(503), left)
    retries.pause(fault(), left)
    assert retries.count == 3


def test_the_server_says_how_long_to_wait():
    assert Retries(1).pause(fault(429, retry_after=30.0), None) == 30.0
    assert Retries(1).pause(fault(429, retry_after=30.0), 31.0) == 30.0
    assert 0.375 <= Retries(1).pause(fault(429, retry_after=0.0), None) <= 0.5
    assert 0.375 <= Retries(1).pause(fault(429, retry_after=0.1), None) <= 0.5


def test_two_minutes_are_waited_for_without_a_deadline_and_no_more():
    assert Retries(1).pause(fault(429, retry_after=120.0), None) == 120.0
    retries, error = Retries(1), fault(429, retry_after=120.5)
    with pytest.raises(TransportError) as caught:
        retries.pause(error, None)
    assert caught.value is error
    assert str(error) == "it failed, and asks to wait 120.5 seconds before the next try"
    assert retries.count == 0
    assert Retries(1).pause(fault(429, retry_after=200.0), 300.0) == 200.0


@pytest.mark.parametrize("retry_after", [None, 0.1, 5.0, 1e300])
@pytest.mark.parametrize("left", [0.0, 0.3])
def test_no_try_begins_behind_the_deadline(retry_after, left):
    retries, error = Retries(5), fault(503, retry_after=retry_after)
    with pytest.raises(
        TransportError, match=r"^it failed, and the next try would be in \S+ seconds, \S+ are left of timeout=$"
    ) as caught:
        retries.pause(error, left)
    assert caught.value is error
    assert (caught.value.status, caught.value.retry_after) == (503, retry_after)
    assert retries.count == 0
