"""Files of rows, whatever format they are in. No torch here."""
