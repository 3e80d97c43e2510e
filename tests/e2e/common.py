"""Found by every test file: makes tests/lib importable and enters the lab."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "lib"))

import lab		# noqa: E402

lab.enter()
