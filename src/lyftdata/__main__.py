"""Runs `lyftdata` as `python -m lyftdata`."""

from lyftdata.cli.main import main

if __name__ == "__main__":
    main()
