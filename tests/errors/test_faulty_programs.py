"""What a user meets whose program is wrong: the right error, short, ending on the wrong line."""

from __future__ import annotations

import faulty_calls
import faulty_shapes
import faulty_traces
import pytest
from faulty import Faulty

MAX_LINES = 12
PROGRAMS = {
    f"{module.__name__}.{name}": value
    for module in (faulty_shapes, faulty_traces, faulty_calls)
    for name, value in vars(module).items()
    if isinstance(value, Faulty)
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_error_names_what_is_wrong_and_ends_on_the_line(name: str) -> None:
    program = PROGRAMS[name]
    with pytest.raises(program.error) as raised:
        program()
    assert type(raised.value) is program.error
    message = str(raised.value)
    lines = message.splitlines()
    assert len(lines) <= MAX_LINES
    assert lines[-1].strip() == program.bad_line()
    assert lines[-2].strip().startswith('File "')
    missing = [part for part in program.named if part not in message]
    assert not missing, message


def test_there_are_enough_programs() -> None:
    assert len(PROGRAMS) >= 60
