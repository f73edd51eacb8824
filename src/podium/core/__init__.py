"""Pure decisions: no I/O, no clock, no randomness that is not passed in. Standard library and numpy only."""
