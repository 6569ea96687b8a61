"""Commands on top of the method: showing, reproducing, tables; no part of the method itself."""
