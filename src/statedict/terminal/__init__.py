"""The explorer in the terminal, for who sits at another machine: drawn by textual."""
