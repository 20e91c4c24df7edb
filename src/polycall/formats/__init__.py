"""One wire format each: requests into its words, responses out of them. No SDK, no I/O."""
