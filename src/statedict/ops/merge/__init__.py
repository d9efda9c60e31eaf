"""Several models made one: `merging` is the way in, a file holds each family of methods."""
