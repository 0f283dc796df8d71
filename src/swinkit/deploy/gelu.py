"""GELU without erf or exp: a polynomial, for engines that turn a chain of sums and products into one loop.

gelu(x) = x Phi(x), and Phi(x) = 1/2 + t Q(t^2), where t is x clipped to +-EDGE (Phi is 0 or 1 there, to
1e-7). Q is a least-squares fit, reweighted until the error of x Phi(x) is level (Lawson), and exact at the
edge. It is written in u = 2 t^2 / EDGE^2 - 1, which runs from -1 to 1, so that float32 loses no digits.
"""

from swinkit.deploy.onnx_nodes import Graph

EDGE = 5.25
COEFFICIENTS = (
    0.134659292,
    -0.0671263488,
    0.0496505838,
    -0.039781862,
    0.0319664058,
    -0.0248442539,
    0.0188373607,
    -0.0136484896,
    0.00788571016,
    -0.00362805352,
    0.00311432772,
    -0.00281916791,
    0.000972590733,
)
"""Of 1, u, u^2, ... The result is within 1.5e-6 of the exact GELU for |x| up to 6, and 3e-7 |x| beyond."""


def polynomial_gelu(graph: Graph, x: str) -> str:
    """Add the polynomial to a graph; return the name of its value, of x's shape."""
    t = graph.op("Clip", x, graph.number(-EDGE), graph.number(EDGE))
    u = graph.op("Mul", graph.op("Mul", t, t), graph.number(2 / EDGE**2))
    u = graph.op("Add", u, graph.number(-1.0))
    q = graph.number(COEFFICIENTS[-1])
    for coefficient in COEFFICIENTS[-2::-1]:
        q = graph.op("Add", graph.op("Mul", u, q), graph.number(coefficient))
    return graph.op("Mul", x, graph.op("Add", graph.op("Mul", t, q), graph.number(0.5)))
