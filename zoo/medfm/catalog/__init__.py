"""What medfm knows: typed records, vocabulary, look-ups. Works without torch."""
