"""Search pages with the released models: `python -m pagefinder.search "query" --pages FOLDER`."""

import sys

from pagefinder.serving.search import main

if __name__ == "__main__":
    sys.exit(main())
