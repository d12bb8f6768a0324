"""GELU for the CPU, where erf is scalar code."""

from ...device.backend import mx


def gelu(x: mx.array) -> mx.array:
    """x·Φ(x) without erf, by multiplications and one division, to 3e-7·|x|.

    Abramowitz and Stegun, Handbook of Mathematical Functions, formula 7.1.28, which
    gives erfc of a positive number as a polynomial to the power of -16. The terms are
    paired, since `mx.compile` fuses chains of limited depth.
    """
    z = mx.abs(x)
    a1, a2, a3, a4, a5, a6 = _ERFC
    z2 = z * z
    low = (1 + a1 * z) + z2 * (a2 + a3 * z)
    high = z2 * z2 * ((a4 + a5 * z) + a6 * z2)
    root = low + high
    root2 = root * root
    root4 = root2 * root2
    root8 = root4 * root4
    value: mx.array = mx.maximum(x, 0) - z * 0.5 / (root8 * root8)
    return value


_ERFC = tuple(
    coefficient * 0.5 ** (power / 2)  # of x where the formula has x / sqrt(2)
    for power, coefficient in enumerate(
        (
            0.0705230784,
            0.0422820123,
            0.0092705272,
            0.0001520143,
            0.0002765672,
            0.0000430638,
        ),
        start=1,
    )
)
