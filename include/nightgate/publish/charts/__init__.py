"""The report's charts, one file per question: do the objectives hold, how do the samples spread, what does recall cost."""

from nightgate.publish.charts.limits import Bar, objectives
from nightgate.publish.charts.spread import Series, quantiles, repeats
from nightgate.publish.charts.tradeoff import Curve, pareto_front, tradeoff

__all__ = ["Bar", "Curve", "Series", "objectives", "pareto_front", "quantiles", "repeats", "tradeoff"]
