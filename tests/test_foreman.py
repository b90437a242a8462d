"""Tests of who does which picture while workers come, go and die."""

import random
from collections import Counter
from itertools import count
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mzsr.apps.foreman import HELD, TRIES, Foreman, Job


def jobs_of(count: int) -> list[Job]:
    return [(Path(f"{index}.png"), Path(f"{index}_x2.png")) for index in range(count)]


def test_the_list_is_walked_no_further_than_hands_reach() -> None:
    walked = count()
    foreman = Foreman[str]((Path(str(index)), Path()) for index in walked)  # a list without end
    for worker in ("Ann", "Bob", "Cid"):
        foreman.hire(worker)
    sent = list(foreman.assign())
    assert [worker for worker, _ in sent] == ["Ann", "Bob", "Cid"] * HELD
    assert next(walked) == 3 * HELD
    assert not list(foreman.assign())
    foreman.finish("Bob", sent[1][1])
    assert [(worker, str(job[0])) for worker, job in foreman.assign()] == [("Bob", str(3 * HELD + 1))]


def test_only_the_job_at_work_is_blamed_and_only_where_there_is_blame() -> None:
    foreman, jobs = Foreman[int](jobs_of(HELD)), jobs_of(HELD)
    for worker in range(TRIES):
        foreman.hire(worker)
        assert [job for _, job in foreman.assign()] == jobs
        assert foreman.lose(worker, guilty=False) is None
    for worker in range(TRIES):
        foreman.hire(worker)
        assert [job for _, job in foreman.assign()] == jobs
        assert foreman.lose(worker) == (jobs[0] if worker == TRIES - 1 else None)
    foreman.hire(0)
    assert [job for _, job in foreman.assign()] == jobs[1:]
    foreman.finish(0, jobs[1])
    assert not list(foreman.assign())
    assert foreman.finished


def test_one_that_was_never_hired_held_nothing() -> None:
    foreman = Foreman[str](jobs_of(1))
    assert foreman.lose("Eve") is None
    assert foreman.waiting
    assert not foreman.finished


@given(total=st.integers(0, 20), poison=st.sets(st.integers(0, 19), max_size=3), seed=st.integers(0, 999))
def test_every_job_ends_once_whoever_dies(total: int, poison: set[int], seed: int) -> None:
    """A job in `poison` kills whoever takes it up; others die by chance."""
    jobs, chance, names = jobs_of(total), random.Random(seed), count()
    foreman, held, ended = Foreman[int](iter(jobs)), dict[int, list[Job]](), Counter[Job]()
    for _ in range(5000):
        if not held or (len(held) < 4 and chance.random() < 0.2):
            worker = next(names)
            held[worker] = []
            foreman.hire(worker)
        for worker, job in foreman.assign():
            held[worker].append(job)
        assert max(map(len, held.values())) <= HELD
        if foreman.finished:
            break
        worker = chance.choice(list(held))
        mine = held[worker]
        deadly = bool(mine) and jobs.index(mine[0]) in poison
        if deadly or chance.random() < 0.1:
            del held[worker]
            given_up = foreman.lose(worker, guilty=deadly)
            assert given_up is None or jobs.index(given_up) in poison
            ended.update([] if given_up is None else [given_up])
        elif mine:
            ended[mine[0]] += 1
            foreman.finish(worker, mine.pop(0))
    assert ended == Counter(jobs)
