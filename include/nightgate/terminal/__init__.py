"""What a person sees in a terminal: the progress of a run, tables of verdicts, the last line."""
