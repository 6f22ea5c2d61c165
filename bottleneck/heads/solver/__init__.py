"""How heads are fitted: passes over the rows, and the solvers that ask for them."""
