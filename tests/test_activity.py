from localllm_magics.activity import Activity
from tests.forking import in_forked_process


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_at_first_it_was_used_just_now() -> None:
    clock = Clock()
    activity = Activity(clock)
    clock.now += 7

    assert (activity.is_busy, activity.last_used, activity.idle_seconds) == (False, 100.0, 7.0)
    assert repr(activity) == "<Activity: 0 uses, idle for 7 s>"


def test_it_is_busy_until_its_last_use_ends() -> None:
    clock = Clock()
    activity, one, other = Activity(clock), list[str](), list[str]()
    seen = []
    for change in (activity.begin, activity.end):
        for notices in (one, other):
            clock.now += 1
            change(notices)
            seen.append((activity.is_busy, activity.idle_seconds))
    clock.now += 5

    assert seen == [(True, None)] * 3 + [(False, 0.0)]
    assert (activity.last_used, activity.idle_seconds) == (104.0, 5.0)


def test_a_use_that_ends_twice_ends_no_other_one() -> None:
    activity, one, other = Activity(Clock()), list[str](), list[str]()
    activity.begin(one)
    activity.begin(other)
    activity.end(one)
    activity.end(one)

    assert activity.is_busy


def test_those_who_use_it_are_told_what_happens() -> None:
    activity, notices = Activity(Clock()), list[str]()
    activity.tell("Too early.")
    activity.begin(notices)
    activity.tell("Mind the step.")
    activity.end(notices)
    activity.tell("Too late.")

    assert notices == ["Mind the step."]


def test_a_block_is_a_use() -> None:
    activity = Activity(Clock())
    with activity.using():
        inside = activity.is_busy

    assert (inside, activity.is_busy) == (True, False)


def test_it_is_unused_where_nothing_has_used_it_since() -> None:
    clock = Clock()
    activity = Activity(clock)
    with activity.unused(100.0) as before:
        pass
    clock.now += 1
    with activity.using(), activity.unused(100.0) as meanwhile:
        pass
    with activity.unused(100.0) as after:
        pass

    assert (before, meanwhile, after) == (True, False, False)


def test_the_uses_of_a_process_are_not_those_of_one_that_was_forked() -> None:
    activity = Activity(Clock())
    with activity.using():
        assert in_forked_process(lambda: not activity.is_busy)
