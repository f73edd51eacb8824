"""Records that are quick to build: as frozen, and as equal, as a plain frozen dataclass."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

import pytest

from podium.domain.record import record


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    one: int
    two: tuple[int, ...] = ()
    three: str | None = None


@record
@dataclass(frozen=True, slots=True)
class Placed:
    one: int
    two: str = "b"


def test_it_is_built_compared_hashed_and_shown_as_before():
    made = Named(one=1, three="c")
    assert (made.one, made.two, made.three) == (1, (), "c")
    assert type(made) is Named
    assert isinstance(made, Named)
    assert made == Named(one=1, two=(), three="c")
    assert made != Named(one=2, three="c")
    assert hash(made) == hash(Named(one=1, three="c"))
    assert repr(made) == "Named(one=1, two=(), three='c')"
    assert [each.name for each in fields(Named)] == ["one", "two", "three"]
    assert Placed(1) == Placed(one=1, two="b") == Placed(1, "b")


def test_nothing_can_be_changed_added_or_taken_away():
    made = Named(one=1)
    with pytest.raises(FrozenInstanceError):
        made.one = 2
    with pytest.raises(FrozenInstanceError):
        del made.one
    with pytest.raises((FrozenInstanceError, TypeError, AttributeError)):
        made.four = 4
    assert not hasattr(made, "__dict__")


def test_wrong_arguments_are_refused_as_before():
    for call in (Named, lambda: Named(1), lambda: Named(one=1, four=4), Placed):
        with pytest.raises(TypeError):
            call()
    assert list(inspect.signature(Named).parameters) == ["one", "two", "three"]


def test_it_is_replaced_copied_and_pickled():
    made = Named(one=1)
    assert replace(made, three="x") == Named(one=1, three="x")
    for again in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert again == made
        assert type(again) is Named


def test_classes_that_it_would_build_wrongly_are_refused():
    @dataclass(slots=True)
    class Open:
        one: int

    @dataclass(frozen=True)
    class Slotless:
        one: int

    @dataclass(frozen=True, slots=True)
    class Made:
        one: list[int] = field(default_factory=list)

    @dataclass(frozen=True, slots=True)
    class Checked:
        one: int

        def __post_init__(self) -> None:
            raise ValueError

    @dataclass(frozen=True, slots=True)
    class Below(Placed):
        three: int = 3

    class Plain:
        pass

    for wrong in (Open, Slotless, Made, Checked, Below, Plain):
        with pytest.raises(TypeError, match="no plain frozen dataclass"):
            record(wrong)
