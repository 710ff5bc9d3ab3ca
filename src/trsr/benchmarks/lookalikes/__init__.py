"""Look-alikes of public data sets: files of the same form and size with made-up content, which anybody may have."""
