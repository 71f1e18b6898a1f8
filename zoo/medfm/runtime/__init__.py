"""Running a model: from files to tensors, through the network, back to files."""
