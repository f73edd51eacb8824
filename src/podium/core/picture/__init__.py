"""What a rollout looks like: facts, words, curves, and drawings of them as text and SVG. Pure; decides nothing."""
