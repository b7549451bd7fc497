"""The seven assets of an actor, one module or package each."""
