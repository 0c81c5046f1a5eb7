"""The same work done by each contender, and the same bytes sent."""
