"""Queries from what PDF files say of their own parts: bookmarks, headings, captions."""
