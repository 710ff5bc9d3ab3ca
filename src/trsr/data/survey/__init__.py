"""What a person should know of a dataset before an LLM is paid to read it, counted in bounded memory.

Texts are gone through in slices of the catalogue, events in parts of whole users that become integers at once. Where a
count would take too long on a large catalogue it is taken from a sample drawn by the seed, and says how large that is.
"""
