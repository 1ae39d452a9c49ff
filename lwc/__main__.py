"""`python -m lwc` is `lwc`."""

from lwc.cli.main import main

raise SystemExit(main())
