"""Keep what a training run and its evaluation measured, with where and by which commands.

    swinkit train camvid --data ./camvid --out runs/camvid
    swinkit eval runs/camvid --data ./camvid --split test --out runs/camvid/report
    python benchmarks/record_run.py runs/camvid --report runs/camvid/report --name camvid

Nothing is run or measured here: numbers, times and environment are read from the two folders.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from common import RESULTS
from swinkit.files import atomic_path


def main() -> int:
    parser = argparse.ArgumentParser(description="Keep what a training run and its evaluation measured.")
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--report", type=Path, required=True, help="folder that `swinkit eval --out` wrote")
    parser.add_argument("--name", required=True, help="name of the file in benchmarks/results")
    parser.add_argument("--commit", default="", help="of the code that ran, where the run could not see it")
    parser.add_argument("--note", default="", help="what else a reader has to know")
    parser.add_argument("--command", action="append", default=[], help="a command, as a user would type it")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    args = parser.parse_args()
    for path in (args.run / "report.json", args.run / "environment.json", args.report / "report.json"):
        if not path.is_file():
            print(
                f"{path} is missing: give a finished run and the folder of its evaluation.", file=sys.stderr
            )
            return 2
    path = args.out / f"{args.name}.json"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(record(args), indent=1) + "\n")
    print(f"wrote {path}")
    return 0


def record(args: argparse.Namespace) -> dict[str, Any]:
    """Join the run's environment, its own report, the looked-over data and the report of the evaluation."""
    environment = read(args.run / "environment.json")
    environment.pop("command", None)
    environment["commit"] = args.commit or environment.get("commit")
    training, found = read(args.run / "report.json"), read(args.report / "report.json")
    for private in ("folder", "model", "data", "weights"):
        training.pop(private, None)
        found.pop(private, None)
    data = read(args.run / "data.json") if (args.run / "data.json").is_file() else {}
    return {
        "environment": environment,
        "commands": args.command,
        "note": args.note,
        "results": {
            "data": {part: _counts(facts) for part, facts in data.items() if facts},
            "training": training,
            "evaluation": found,
        },
    }


def read(path: Path) -> dict[str, Any]:
    """A JSON object."""
    return json.loads(path.read_text())


def _counts(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if isinstance(value, int)}


if __name__ == "__main__":
    raise SystemExit(main())
