"""What will run: preflight, memory estimate, planner, plan report."""
