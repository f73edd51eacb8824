"""The product verbs: they use ports and core, know no framework and no SQL."""
