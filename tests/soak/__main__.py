"""The command of the soak: `scripts/soak --help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import orjson
import uvloop
from rich.console import Console

from tests.soak.report import print_report
from tests.soak.soak import SoakPlan, soak


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description="Breaks a real server under load, and checks that it lost nothing."
    )
    parser.add_argument("--minutes", type=float, default=2.0, help="the time for which the server is broken")
    parser.add_argument("--kills", type=int, default=0, help="goes on until so many processes were killed")
    parser.add_argument("--seed", type=int, default=0, help="chooses the faults, and what clients and the model do")
    parser.add_argument("--workers", type=int, default=2, help="the processes that serve")
    parser.add_argument("--clients", type=int, default=10, help="the clients")
    parser.add_argument("--code", action="store_true", help="with code_interpreter, if its Python is installed")
    parser.add_argument("--disk-mib", type=int, default=3072, help="the size of the disk, which is sometimes filled")
    parser.add_argument("--home", type=Path, help="a folder for the logs; it stays. Default: a temporary one")
    parser.add_argument("--json", type=Path, help="a file for the report")
    given = parser.parse_args()
    plan = SoakPlan(
        minutes=given.minutes,
        seed=given.seed,
        kills=given.kills,
        workers=given.workers,
        clients=given.clients,
        has_code=given.code,
        disk_mib=given.disk_mib,
        home=given.home,
    )
    report = uvloop.run(soak(plan))
    print_report(report, Console(width=None if sys.stdout.isatty() else 140))
    if given.json is not None:
        given.json.write_bytes(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2))
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
