"""``python -m bottleneck`` is the ``bottleneck`` command."""

from bottleneck.cli.main import main

if __name__ == "__main__":
    main()
