"""What a person sees of an outcome: the answers of the command line as text and tables."""
