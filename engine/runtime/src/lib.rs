//! Heddle's executor and the ports it needs: journal, functions, clock and ids.
