"""The file that Streamlit runs anew for every click.

The processes that read uploads import it too, as they do with any main program, so it imports
nothing until Streamlit runs it.
"""

if __name__ == "__main__":
    from pagefinder.serving.page import main

    main()
