"""What a label file says: names of its values, the classes they are, and its grid against that of the image."""
