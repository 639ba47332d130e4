"""Judging answers: tasks, checks, rates with intervals, reports, gates, scorecards. No torch."""
