"""One file is one method is one paper, in a folder per family: the listing is the field's table of contents."""
