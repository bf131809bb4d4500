"""Makes the kernels of the tests of the LLVM form importable here."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "backends"))
