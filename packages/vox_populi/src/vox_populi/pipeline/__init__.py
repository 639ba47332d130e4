"""The only code that calls the stages in order."""
