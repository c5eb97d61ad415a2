"""`python -m cluster` in the folder above."""

import sys

from cluster.cli import main

sys.exit(main())
