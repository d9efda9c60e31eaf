"""Whether bytes are those that were written: checksums in the file, digests beside it, shards of one set."""
