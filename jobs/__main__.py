"""`python -m jobs`: the `pixlake` command without its script."""

from jobs.cli import main

main()
