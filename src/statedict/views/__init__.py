"""From a tree, a table or a result to lines of styled text. Nothing here prints, or asks where it will be printed."""
