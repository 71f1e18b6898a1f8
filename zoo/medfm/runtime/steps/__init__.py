"""The functions that run the steps of contracts, one module for each kind of input."""
