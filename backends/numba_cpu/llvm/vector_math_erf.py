"""The error function: erf.

Below `SPLIT` erf(x) = x + x * p(x**2); above it erf(x) = 1 - exp(t * q(t)) with t = |x| and q a fit of
log(erfc(t)) / t, weighted by what it does to erf (the scheme of N. Juffa's erff). Coefficients: own
Remez fits, rounded one after another.
"""

from __future__ import annotations

from irgrad.backends.numba_cpu.llvm.vector_math_builder import Lanes, Vec
from irgrad.backends.numba_cpu.llvm.vector_math_exp import exp_normal

SPLIT = {"f32": 0.925, "f64": 1.0}
# Above it erf rounds to 1.
LIMIT = {"f32": 3.95, "f64": 5.94}

# erf(x)/x - 1 in x**2; relative error 2**-25.8 and 2**-56.0
SMALL = {
    "f32": (
        0.12837915122509003, -0.37612488865852356, 0.11281730234622955, -0.026762913912534714,
        0.0049872505478560925, -0.0005958980764262378,
    ),
    "f64": (
        0.12837916709551256, -0.37612638903183454, 0.1128379167094489, -0.026866170643553424,
        0.005223977611292535, -0.0008548326218571887, 0.00012055302878250302,
        -1.4924896793316184e-05, 1.644942965352575e-06, -1.6223847077318466e-07,
        1.3785922866717728e-08, -7.917006141435335e-10,
    ),
}  # fmt: skip

# log(erfc(t)) / t; relative error of erf 2**-28.3 and 2**-57.9
LARGE = {
    "f32": (
        -1.1285144090652466, -0.6357181668281555, -0.10526201874017715, 0.022890064865350723,
        -0.00321498466655612, 0.00021398859098553658,
    ),
    "f64": (
        -1.128379118195966, -0.6366201856024909, -0.10277111168896765, 0.019125708989793832,
        0.00021069296617685164, -0.0016908321130052323, 0.000572878909414563,
        2.3562344469237002e-06, -9.632709672517033e-05, 5.644175307158161e-05,
        -2.0503857019677678e-05, 5.430446292194363e-06, -1.0885014924246519e-06,
        1.6482801180139742e-07, -1.8360379507661777e-08, 1.422581863756445e-09,
        -6.853758065629283e-11, 1.5461807247017778e-12,
    ),
}  # fmt: skip


def erf(m: Lanes, x: Vec) -> Vec:
    """The error function."""
    name = m.fmt.name
    s = x * x
    small = m.fma(x, m.horner(s, SMALL[name]), x)
    t = m.minimum(LIMIT[name], m.abs(x))
    large = 1.0 - exp_normal(m, t * m.horner(t, LARGE[name]))
    return m.select(t < SPLIT[name], small, m.flip_sign(large, m.sign(x)))
