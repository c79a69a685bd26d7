"""What a data set is like before anything is trained on it: contents, copies, advice, and how long training would take."""
