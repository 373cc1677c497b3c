#!/usr/bin/env bash
# Runs every test of the product. Needs python3 and nothing else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec python3 -m unittest discover --top-level-directory . --start-directory tests
