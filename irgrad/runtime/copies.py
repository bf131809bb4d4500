"""Copies and pickles of functions that hold compiled code: the function itself, or its name."""

from __future__ import annotations

import sys
from functools import reduce
from typing import Any

from ..errors import ArgumentError
from ..tracing.locations import add_location, user_locations


def reduce_to_name(function: Any) -> str:
    """The name under which a pickle finds a decorated function again, as for functions of Python.

    Raises ArgumentError where its module has another object, or none, under its name.
    """
    name = getattr(function, "__qualname__", type(function).__name__)
    module = sys.modules.get(str(getattr(function, "__module__", "")))
    found = reduce(lambda holder, part: getattr(holder, part, None), str(name).split("."), module)
    if found is not function:
        error = ArgumentError(
            f"{name}: expected a function that its module has under its name to pickle, got "
            "another one; pickle the plain function instead"
        )
        add_location(error, user_locations())
        raise error
    return str(name)
