"""Methods trained and scored alike, and put into one table: ``spinefuse compare``."""
