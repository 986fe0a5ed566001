"""Find the best pages for a question, in a folder or in the last run, with the released models."""
