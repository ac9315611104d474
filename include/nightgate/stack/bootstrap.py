"""Run several Airflow commands in one interpreter: importing Airflow costs seconds, so it is done once.

``python -m nightgate.stack.bootstrap POOLS_JSON`` migrates the metadata database and imports the pools.
"""

from __future__ import annotations

import sys


def main(pools: str) -> None:
    from airflow.cli.cli_parser import get_parser

    parser = get_parser()
    for words in (["db", "migrate"], ["pools", "import", pools], ["dags", "reserialize"]):
        arguments = parser.parse_args(words)
        arguments.func(arguments)


if __name__ == "__main__":
    main(sys.argv[1])
