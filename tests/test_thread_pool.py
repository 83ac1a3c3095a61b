"""Writing in background threads: bounded, complete, and errors are raised."""

from __future__ import annotations

import threading
import time

import pytest

from ca_seg import thread_pool
from ca_seg.errors import OutOfRange, UserError
from ca_seg.thread_pool import BoundedThreadPool, threads_beside


def test_all_work_is_done_when_the_pool_is_closed():
    results = []
    pool = BoundedThreadPool(3)
    for number in range(200):
        pool.submit(1, lambda number=number: results.append(number))
    pool.close()
    assert sorted(results) == list(range(200))


def test_no_more_bytes_wait_than_the_limit():
    waiting, highest, lock, start = 0, 0, threading.Lock(), threading.Event()

    def work():
        start.wait(10)
        nonlocal waiting
        with lock:
            waiting -= 4

    pool = BoundedThreadPool(2, max_bytes=10)

    def fill():
        nonlocal waiting, highest
        for _ in range(20):
            pool.submit(4, work)
            with lock:
                waiting += 4
                highest = max(highest, waiting)

    filling = threading.Thread(target=fill)
    filling.start()
    time.sleep(0.1)
    assert waiting == 8  # two of 4 bytes fit, the third waits
    start.set()
    filling.join(10)
    pool.close()
    assert not filling.is_alive()
    assert waiting == 0
    assert highest <= 12  # counted after submit, so one may have started


def test_work_larger_than_the_limit_runs_alone():
    pool, sizes = BoundedThreadPool(4, max_bytes=10), []
    for size in (5, 100, 5, 100):
        pool.submit(size, lambda size=size: (time.sleep(0.01), sizes.append(size)))
    pool.close()
    assert sorted(sizes) == [5, 5, 100, 100]


def test_the_first_error_is_raised_and_no_more_work_is_started():
    pool, started = BoundedThreadPool(1, max_bytes=10), []

    def fail():
        raise UserError("the disk is full")

    pool.submit(10, fail)
    with pytest.raises(UserError, match="disk is full"):
        pool.submit(10, lambda: started.append(1))
    assert len(started) == 0
    with pytest.raises(UserError, match="disk is full"):
        pool.close()


def test_zero_threads_are_refused():
    with pytest.raises(OutOfRange, match=r"\b0\b"):
        BoundedThreadPool(0)


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (8, 2), (64, 4), (None, 1)])
def test_threads_leave_the_cores_to_a_backbone_on_them(monkeypatch, cores, threads):
    monkeypatch.setattr(thread_pool.os, "cpu_count", lambda: cores)
    assert threads_beside("cpu") == threads
    assert threads_beside("cuda") == 4


def test_wait_returns_when_everything_so_far_is_done_and_more_can_follow():
    pool, done = BoundedThreadPool(), []
    for number in range(3):
        pool.submit(1, lambda number=number: (time.sleep(0.01), done.append(number)))
    pool.wait()
    assert done == [0, 1, 2]
    pool.submit(1, lambda: done.append(3))
    pool.close()
    assert done == [0, 1, 2, 3]


def test_wait_raises_the_first_error():
    pool = BoundedThreadPool()
    pool.submit(1, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pool.wait()
    pool.abandon()
