"""What is shown in a browser: the explorer that a local server serves, and the report that needs none."""
