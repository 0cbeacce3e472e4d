"""Recipe: everything that a run is told, as validated data, and errors that name the place.

Reads a recipe's YAML; writes nothing. Every wing below may import it.
"""
