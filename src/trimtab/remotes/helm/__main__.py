"""A child that reads one index from stdin and writes its catalogue to stdout; what is wrong with it goes to stderr."""

import sys

from trimtab.remotes.helm.index import BadIndex, parse
from trimtab.remotes.helm.reading import REFUSED


def main() -> int:
    """Read, write, and say by the exit code how it went."""
    try:
        sys.stdout.buffer.write(parse(sys.stdin.buffer.read()))
    except BadIndex as problem:
        sys.stderr.write(str(problem))
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
