"""What one checkpoint has otherwise than another: names, shapes and types, and how far the values lie apart."""
