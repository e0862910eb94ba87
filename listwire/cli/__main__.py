"""`python -m listwire.cli`, for where the installed script is not on the path."""

from listwire.cli import main

main()
