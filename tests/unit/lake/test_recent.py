"""What is kept is bounded by what it weighs, whatever its count."""

from __future__ import annotations

from datalab.lake.recent import Recent


def made(kept: Recent[str, str], key: str, value: str) -> bool:
    """Whether the value of a key had to be made."""
    found: list[str] = []
    assert kept.get(key, lambda: found.append(value) or value) == value
    return bool(found)


def test_the_oldest_go_where_there_are_too_many() -> None:
    kept = Recent[str, str](2)
    assert [made(kept, key, key) for key in "aabbca"] == [True, False, True, False, True, True]


def test_the_oldest_go_where_all_weigh_too_much() -> None:
    kept = Recent[str, str](5, len)
    kept.put("a", "xx")
    kept.put("b", "xxx")
    assert not made(kept, "a", "xx")
    kept.put("c", "x")
    assert [made(kept, key, value) for key, value in (("b", "xxx"), ("c", "x"))] == [False, False]
    assert made(kept, "a", "xx")


def test_the_newest_is_kept_whatever_it_weighs() -> None:
    kept = Recent[str, str](3, len)
    kept.put("a", "x")
    kept.put("b", "x" * 9)
    assert not made(kept, "b", "x" * 9)
    kept.put("c", "x")
    assert not made(kept, "c", "x")
    assert made(kept, "b", "x" * 9)


def test_a_value_that_is_put_again_weighs_once() -> None:
    kept = Recent[str, str](3, len)
    for value in ("xxx", "x", "xx"):
        kept.put("a", value)
    kept.put("b", "x")
    assert not made(kept, "a", "xx")
