"""How much of what disturbs the host does a control take off? One environment beside itself, in turns, on this host.

`make duet-aa` (about eight minutes). Every round measures the hybrid at the smoke scale twice, in two processes that take turns. If they
shared nothing, the ratio of both would scatter by √2 of what one of them scatters by from round to round; what it scatters by
less, the turns have taken off.
"""

from __future__ import annotations

import argparse
import math
from statistics import stdev

from nightgate import planning, registry, steps
from nightgate.duet.measuring import Task, duet
from nightgate.record import BY_HAND

VARIANT = "hybrid"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    only = registry.named("hybrid_ann").settings.only(VARIANT)
    plan = steps.preflight(
        planning.new_run_id("duet-aa"), dag_id=BY_HAND, scale="smoke", only=["hybrid_ann"], devices=["cpu"],
        overrides={f"hybrid_ann.{key}": names for key, names in only.items()},
    )  # fmt: skip
    metrics = ("latency_p50", "latency_p95", "latency_p50_fast", "latency_p95_fast")
    task = Task("hybrid_ann", "cpu", plan.settings["hybrid_ann"], metrics[:2], plan.looked["hybrid_ann"])
    made = duet(None, None, task, asked.rounds)
    print(f"\n{len(made.rounds)} rounds, {len(made.disturbed)} of them disturbed\n")
    print("| metric | rounds | sd of one side, from round to round | sd of the ratio | mean ratio | taken off |")
    print("|---|---|---|---|---|---|")
    for metric in metrics:
        first, second = made.of(VARIANT, metric)
        if len(first) < 3:
            continue
        one = math.sqrt((stdev(map(math.log, first)) ** 2 + stdev(map(math.log, second)) ** 2) / 2)
        apart = [math.log(b / a) for a, b in zip(first, second, strict=True)]
        alone = stdev(apart) / math.sqrt(2)
        mean = math.exp(math.fsum(apart) / len(apart))
        taken = 1 - alone / one
        print(
            f"| {metric} | {len(first)} | {100 * one:.1f} % | {100 * stdev(apart):.1f} % | {mean:.3f} | {100 * taken:.0f} % |"
        )


if __name__ == "__main__":
    main()
