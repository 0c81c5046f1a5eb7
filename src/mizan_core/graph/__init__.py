"""Start-up: declarations, checked as a whole and compiled into a frozen graph that everything reads."""
