"""`python -m ca_seg` is `ca-seg`."""

import sys

from ca_seg.cli.main import main

sys.exit(main())
