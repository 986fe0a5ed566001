"""An index of pages in LanceDB that grows with a folder: read, encode, commit; one model's only."""
