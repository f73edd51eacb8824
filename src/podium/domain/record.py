"""Makes immutable records quick to build: those of which every request makes a handful.

The ``__init__`` of a frozen dataclass calls ``object.__setattr__`` for every field: 20 fields take four times as long as
those of a class that may change. ``record`` gives it another ``__init__``: while it runs the object is of a twin class
with the same slots that may change. What comes out is as frozen as before.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

T = TypeVar("T")


def record(cls: type[T]) -> type[T]:
    """Stands above ``@dataclass(frozen=True, slots=True)``, without bases, ``__post_init__`` or default factories.

    Raises ``TypeError`` for any other class: it would be built wrongly.
    """
    own = vars(cls)
    names = [field.name for field in fields(cls)] if is_dataclass(cls) else []
    plain = names and cls.__bases__ == (object,) and tuple(own.get("__slots__", ())) == tuple(names)
    frozen = plain and own["__dataclass_params__"].frozen
    if not frozen or "__post_init__" in own or any(_unusual(field) for field in fields(cls)):  # type: ignore[arg-type] # asked above
        raise TypeError(f"{cls.__name__} is no plain frozen dataclass with slots")
    twin = type(cls.__name__, (), {"__slots__": tuple(names), "__module__": cls.__module__})
    given: dict[str, Any] = {"_twin": twin, "_cls": cls, "_set": object.__setattr__}
    parameters: list[str] = []
    for field in fields(cls):  # type: ignore[arg-type] # asked above
        if field.kw_only and "*" not in parameters:
            parameters.append("*")
        if field.default is MISSING:
            parameters.append(field.name)
        else:
            given[f"_{field.name}"] = field.default
            parameters.append(f"{field.name}=_{field.name}")
    lines = [f"def __init__(self, {', '.join(parameters)}):", " _set(self, '__class__', _twin)"]
    lines += [f" self.{name} = {name}" for name in names]
    exec("\n".join([*lines, " self.__class__ = _cls"]), given)  # noqa: S102 - names of fields only, as dataclasses does
    init = given["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = cls.__init__.__annotations__
    type.__setattr__(cls, "__init__", init)
    return cls


def _unusual(field: Any) -> bool:
    return field.default_factory is not MISSING or not field.init
