"""exp and erf in float32 as polynomials: the numbers that the kernels and the operators on integers share.

exp(x) = 2^n exp(r) with n = round(x / ln 2) and |r| <= ln 2 / 2.

erf(x) = 1 - exp(-x^2) P(t) for x from 0 to 4, t = 1 / (1 + 0.4 x): the form of Abramowitz and Stegun, "Handbook of
Mathematical Functions" (1964), 7.1.26, with a polynomial of higher degree.

Coefficients of the highest power come first. They give the least error, found by Lawson's iteration (C. L. Lawson,
"Contributions to the theory of linear least maximum approximation", 1961).
"""

LOG2_E, LN2 = 1.44269504088896341, 0.693147180559945309
# exp(r) = 1 + r (...), with a relative error of at most 9e-8.
EXP = (8.2903147429e-3, 4.1897929476e-2, 1.6667636196e-1, 4.9999149529e-1, 9.9999970719e-1, 1.0)
# Added to a small number it leaves its nearest integer, and 127, the exponent's bias, in the last bits.
ROUNDING = 1.5 * 2**23 + 127
# The argument is held between these: below, the result leaves the normal range of float32; above, the power of two
# does, though the result itself would stay finite to 88.72.
LOWEST, HIGHEST = -87.3, 88.3
# In a sigmoid, 1 / (1 + exp(-x)), it must: a number times what is not 0 there may be large. The power is infinity then.
HIGHEST_OF_NEGATION = 89.0
# Error 8e-9.
ERF = (
    3.0293009164e-2,
    -3.4983419200e-1,
    1.0151600478,
    -7.0287441839e-1,
    6.6962090603e-1,
    9.7099978518e-2,
    2.4053466130e-1,
    0.0,
)
ERF_SLOPE, ERF_HIGHEST = 0.4, 4.0


def signed(coefficients: tuple[float, ...], sign: float) -> tuple[float, ...]:
    """The coefficients of p(sign x) for those of p(x), sign 1 or -1."""
    powers = range(len(coefficients) - 1, -1, -1)
    return tuple(c * sign**power for power, c in zip(powers, coefficients, strict=True))
