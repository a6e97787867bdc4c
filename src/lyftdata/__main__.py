"""`python -m lyftdata` is `lyftdata`."""

from lyftdata.cli.main import main

if __name__ == "__main__":
    main()
