"""``python -m driftline`` and ``driftline`` are the command line."""

import sys
from pathlib import Path


def main() -> None:
    """Run a command, with our own packages whatever lies in the working directory."""
    if __name__ == "__main__" and not sys.flags.safe_path:
        del sys.path[0]  # the working directory, which `python -m` searches first
    sys.path.insert(0, str(Path(__file__).absolute().parent.parent))
    from producer.safe_path import import_own_packages  # noqa: PLC0415 - ours, by the line above

    import_own_packages()
    del sys.path[0]
    from driftline.cli.app import app  # noqa: PLC0415 - our own packages are loaded now

    app()


if __name__ == "__main__":
    main()
