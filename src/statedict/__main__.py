"""`python -m statedict`."""

from statedict.cli import main

if __name__ == "__main__":  # which workers that are spawned import, too
    main()
