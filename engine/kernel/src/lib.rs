//! Heddle's pure core: graph, state and run, without I/O, clock or randomness.
