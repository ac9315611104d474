"""The report's charts, one file per question: do the objectives hold, how do the samples spread, what does recall cost,
how did it go over the nights."""

from nightgate.publish.charts.course import Night, course, spark
from nightgate.publish.charts.limits import Bar, objectives
from nightgate.publish.charts.spread import Series, quantiles, repeats
from nightgate.publish.charts.tradeoff import Curve, pareto_front, tradeoff

__all__ = [
    "Bar",
    "Curve",
    "Night",
    "Series",
    "course",
    "objectives",
    "pareto_front",
    "quantiles",
    "repeats",
    "spark",
    "tradeoff",
]
