"""A stand-in for a parsing process that an attacker has taken over: its input selects what it writes."""

from __future__ import annotations

import sys
import time


def main() -> None:
    match sys.stdin.read():
        case "babble":
            sys.stdout.write('{"ready": true}\n{"text": 7}\n{"end": true}\n')
        case "endless":
            while True:
                sys.stdout.write("x" * 65_536)
        case "nothing":
            return
        case "lies":
            sys.stdout.write('{"error": ["unsupported_file", "' + "x" * 5000 + '"]}\n')
        case _:
            time.sleep(600)


if __name__ == "__main__":
    main()
