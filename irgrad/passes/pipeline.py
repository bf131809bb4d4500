"""The passes of a compile, in order."""

from __future__ import annotations

from ..rewrite.rule import Numerics
from .arrange_reductions import ArrangeReductions
from .base import Pass
from .fold_constants import FoldConstants
from .form_fma import FormFma
from .fuse import Fuse
from .infer import Infer
from .inline_calls import InlineCalls
from .merge_common import MergeCommon
from .remove_dead import RemoveDead
from .simplify import Simplify
from .squeeze import Squeeze


def pipeline(numerics: Numerics = "stable") -> tuple[Pass, ...]:
    """The passes from a traced graph to a fused one.

    numerics: the highest class of rewrite that may fire: "exact", "stable" or "approximate".
    """
    return (
        Infer(),
        InlineCalls(),
        FoldConstants(numerics),
        Simplify(numerics=numerics),
        Squeeze(),
        MergeCommon(),
        Simplify(numerics=numerics),
        RemoveDead(),
        *(() if numerics == "exact" else (FormFma(),)),
        ArrangeReductions(),
        Fuse(),
    )
