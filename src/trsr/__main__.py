"""`python -m trsr`: the same program as `trsr`, for launchers that start a module."""

from trsr.cli.app import main

if __name__ == "__main__":
    main()
