"""Writing behind the scenes: bounded, in full, and loud about errors."""

from __future__ import annotations

import threading
import time

import pytest

from ca_seg.errors import OutOfRange, UserError
from ca_seg.labelling import thread_pool as background
from ca_seg.labelling.thread_pool import Background, threads_beside


def test_everything_is_done_by_the_end():
    made = []
    pool = Background(3)
    for number in range(200):
        pool.submit(1, lambda number=number: made.append(number))
    pool.close()
    assert sorted(made) == list(range(200))


def test_no_more_is_held_than_there_is_room():
    held, most, lock, go = 0, 0, threading.Lock(), threading.Event()

    def work():
        go.wait(10)
        nonlocal held
        with lock:
            held -= 4

    pool = Background(2, room=10)

    def fill():
        nonlocal held, most
        for _ in range(20):
            pool.submit(4, work)
            with lock:
                held += 4
                most = max(most, held)

    filling = threading.Thread(target=fill)
    filling.start()
    time.sleep(0.1)
    assert held == 8  # two of 4 bytes fit, the third waits
    go.set()
    filling.join(10)
    pool.close()
    assert not filling.is_alive()
    assert held == 0
    assert most <= 12  # counted after submit, so one may have begun


def test_something_larger_than_the_room_goes_alone():
    pool, seen = Background(4, room=10), []
    for size in (5, 100, 5, 100):
        pool.submit(size, lambda size=size: (time.sleep(0.01), seen.append(size)))
    pool.close()
    assert sorted(seen) == [5, 5, 100, 100]


def test_the_first_error_comes_up_and_nothing_more_is_begun():
    pool, begun = Background(1, room=10), []

    def fail():
        raise UserError("the disk is full")

    pool.submit(10, fail)
    with pytest.raises(UserError, match="disk is full"):
        pool.submit(10, lambda: begun.append(1))
    assert len(begun) == 0
    with pytest.raises(UserError, match="disk is full"):
        pool.close()


def test_no_thread_is_refused():
    with pytest.raises(OutOfRange, match="threads"):
        Background(0)


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (8, 2), (64, 4), (None, 1)])
def test_threads_leave_the_cores_to_a_backbone_on_them(monkeypatch, cores, threads):
    monkeypatch.setattr(background.os, "cpu_count", lambda: cores)
    assert threads_beside("cpu") == threads
    assert threads_beside("cuda") == 4
