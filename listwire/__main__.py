"""`python -m listwire`: the same command line, for child processes that must run in this very interpreter."""

from listwire.cli import main

if __name__ == "__main__":
    main()
