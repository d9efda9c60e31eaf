"""Hostile files, each made by a few lines here, and none of them by anybody else: what `check` must find.

`files.build(folder)` writes them all. What they would run, if anything ran them, is harmless: `touch statedict-was-here`.
"""
