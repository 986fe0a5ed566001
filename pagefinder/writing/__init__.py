"""Questions that a vision-language model writes from pages, filtered until they can be trusted."""
