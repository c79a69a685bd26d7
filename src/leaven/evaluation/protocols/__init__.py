"""One file is one protocol. A protocol registers itself by being defined (`leaven.evaluation.registry` imports the files)."""
