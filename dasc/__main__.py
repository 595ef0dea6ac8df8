"""`python -m dasc` is the command `dasc`."""

from dasc.cli import main

if __name__ == "__main__":
    main()
