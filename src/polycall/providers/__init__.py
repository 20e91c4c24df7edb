"""One SDK each, by the name of its package: how it is called, and what it gives back."""
