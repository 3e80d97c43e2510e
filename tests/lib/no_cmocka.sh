#!/bin/sh
# Stands for the unit tests where they cannot be built.
echo '1..0 # SKIP all unit tests: configure did not find cmocka'
