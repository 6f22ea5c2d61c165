"""How heads are chosen: splits of the rows, sweeps over strengths, estimates."""
