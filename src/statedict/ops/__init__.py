"""What can be done with a module tree, one verb a file."""
